import errno
import io
import json
import os
import stat
import threading
import time
from pathlib import Path
from typing import BinaryIO

import pytest
from fastapi.testclient import TestClient

from docrag import Index
from docrag.errors import EmptyDocument, UnsupportedFile
from docrag.serve.app import create_app
from docrag.serve.settings import ServeSettings
from docrag.serve.uploads import Uploads, safe_name
from tests.samples import CLOCK, FERRY, make_image, write_pdf
from tests.serve.conftest import HERE


def test_a_document_is_uploaded_found_and_removed(started, tmp_path: Path):
    client = started()
    accepted = send(client, ("../../clocks.pdf", pdf(tmp_path, CLOCK)))
    assert accepted.status_code == 202, accepted.text
    job = accepted.json()["job"]
    assert accepted.headers["location"] == f"/v1/ingest/{job}"
    told = ended(client, job)
    assert told["state"] == "done"
    assert [(file["file"], file["status"], file["pages"]) for file in told["files"]] == [
        ("clocks.pdf", "added", 1)
    ]
    hit = client.post("/v1/search", json={"query": "pendulum of a clock", "k": 1}).json()["hits"][0]
    stored = Path(hit["file"])
    assert stored == client.app.state.settings.folder / "uploads" / "clocks.pdf"
    assert client.get(hit["image_url"]).status_code == 200
    assert client.delete(f"/v1/documents/{hit['document_id']}").json() == {"pages": 1}
    assert not stored.exists()
    assert client.get(f"/v1/pages/{hit['page_id']}").status_code == 404
    assert client.get(hit["image_url"]).status_code == 404
    assert client.delete(f"/v1/documents/{hit['document_id']}").status_code == 404
    assert list(stored.parent.iterdir()) == []


def test_progress_comes_as_events_that_can_be_taken_up_again(started, tmp_path: Path):
    client = started()
    job = send(client, ("a.pdf", pdf(tmp_path, CLOCK, FERRY)), ("b.txt", b"no document")).json()["job"]
    stream = client.get(f"/v1/ingest/{job}/events")
    assert stream.headers["content-type"].startswith("text/event-stream")
    told = events(stream.text)
    assert (told[0][0], told[0][1]["status"]) == ("file", "failed")
    assert {name for name, _ in told} == {"file", "progress", "end"}
    assert told[-1] == ("end", {"state": "done", "summary": told[-1][1]["summary"]})
    assert told[-1][1]["summary"]["pages"] == 2
    rest = client.get(f"/v1/ingest/{job}/events", headers={"Last-Event-ID": str(len(told) - 2)})
    assert events(rest.text) == told[-1:]


def test_a_file_in_the_index_that_was_not_uploaded_stays_on_disk(started, folder: Path):
    client = started()
    document = client.get("/v1/documents").json()["documents"][0]
    assert client.delete(f"/v1/documents/{document['document_id']}").json() == {"pages": 2}
    assert Path(document["file"]).is_file()
    assert client.get("/v1/documents").json()["documents"] == []


def test_another_content_under_the_same_name_gets_a_number_and_the_same_one_does_not(started, tmp_path: Path):
    client = started()
    clock, ferry = pdf(tmp_path, CLOCK), pdf(tmp_path, FERRY, "more")
    for content, status, name in (
        (clock, "added", "a.pdf"),
        (ferry, "added", "a (2).pdf"),
        (clock, "unchanged", "a.pdf"),
        (ferry, "unchanged", "a (2).pdf"),
    ):
        told = ended(client, send(client, ("a.pdf", content)).json()["job"])
        assert [(file["status"], file["file"]) for file in told["files"]] == [(status, name)]


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [("a.pdf", b"", 422), ("a.pdf", b"MZ\x90\x00", 415), ("a.png", b"<svg/>", 415), ("a", b"GIF89a", 415)],
)
def test_what_is_no_document_is_refused_at_once(started, name: str, content: bytes, status: int):
    client = started()
    answer = send(client, (name, content))
    assert answer.status_code == status
    assert answer.json()["error"]["hint"]
    assert not client.app.state.settings.uploads.exists() or not list(
        client.app.state.settings.uploads.iterdir()
    )


def test_what_was_kept_before_the_disk_was_full_is_ingested(started, tmp_path: Path, monkeypatch):
    """Else it would lie there, unknown to the client, until the next start."""
    client, content = started(), pdf(tmp_path, CLOCK)
    write = Uploads._write

    def full(self: Uploads, path: Path, given: BinaryIO) -> None:
        if path.name != "a.pdf":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, path, given)

    monkeypatch.setattr(Uploads, "_write", full)
    told = ended(client, send(client, ("a.pdf", content), ("b.pdf", pdf(tmp_path, FERRY))).json()["job"])
    assert [(file["file"], file["status"]) for file in told["files"]] == [
        ("b.pdf", "failed"),
        ("a.pdf", "added"),
    ]
    assert "no space" in told["files"][0]["error"]
    assert send(client, ("c.pdf", pdf(tmp_path, "Another."))).status_code == 507


def test_nothing_is_shown_of_a_removed_page(started, tmp_path: Path):
    client = started()
    hit = client.post("/v1/search", json={"query": "apple", "k": 1}).json()["hits"][0]
    shows = [
        hit["image_url"],
        f"/v1/pages/{hit['page_id']}/heatmap?q=apple",
        f"/page/{hit['page_id']}?q=apple",
    ]
    assert [client.get(show).status_code for show in shows] == [200] * 3
    client.delete(f"/v1/documents/{hit['document_id']}")
    assert [client.get(show).status_code for show in shows] == [404] * 3


def test_several_files_that_are_all_no_documents_are_refused_at_once(started):
    client = started()
    assert send(client, ("a.txt", b"words"), ("b.txt", b"more words")).status_code == 415


def test_a_broken_or_long_document_is_refused_by_its_job_and_not_kept(started, tmp_path: Path):
    client = started(most_pages=2)
    long, broken = pdf(tmp_path, "one", "two", "three"), b"%PDF-1.7\nnothing more"
    told = ended(client, send(client, ("long.pdf", long), ("broken.pdf", broken)).json()["job"])
    errors = {file["file"]: file["error"] for file in told["files"]}
    assert "has 3 pages, and 2 are taken" in errors["long.pdf"]
    assert errors["broken.pdf"]
    assert str(client.app.state.settings.uploads) not in str(told)  # where the server keeps it is its own
    assert list(client.app.state.settings.uploads.iterdir()) == []
    assert len(client.get("/v1/documents").json()["documents"]) == 1


def test_the_original_of_what_is_indexed_stays_where_it_fails_when_it_is_sent_again(started, tmp_path: Path):
    client, content = started(), pdf(tmp_path, CLOCK, FERRY)
    told = ended(client, send(client, ("two.pdf", content)).json()["job"])
    assert told["files"][0]["status"] == "added"
    client.__exit__(None, None, None)
    client = started(most_pages=1)
    told = ended(client, send(client, ("two.pdf", content)).json()["job"])
    assert told["files"][0]["status"] == "failed"
    [name] = (client.app.state.settings.folder / "uploads").iterdir()  # and no mark
    assert name.read_bytes() == content


def test_an_image_is_a_document_too(started):
    client = started()
    content = io.BytesIO()
    make_image(2).save(content, "PNG")
    told = ended(client, send(client, ("photo.jpeg", content.getvalue())).json()["job"])
    assert told["files"][0]["status"] == "added", told
    assert told["files"][0]["file"] == "photo.jpeg.png"  # what it is, its content says


def test_limits_of_an_upload(started, tmp_path: Path):
    client = started(most_files=2, most_upload=20_000)
    small = pdf(tmp_path, CLOCK)
    assert send(client, *[(f"{n}.pdf", small) for n in range(3)]).status_code == 413
    assert send(client, ("large.pdf", b"%PDF-" + bytes(30_000))).status_code == 413

    def endless():
        for _ in range(1000):
            yield b"x" * 1000

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = client.post("/v1/ingest", content=endless(), headers=headers)  # no Content-Length
    assert answer.status_code == 413
    assert client.post("/v1/ingest", data={"files": "text"}).status_code == 422
    assert client.post("/v1/ingest", content=b"--b\r\nbroken", headers=headers).status_code in (400, 422)


def test_a_server_that_only_reads_takes_nothing(client: TestClient, tmp_path: Path):
    answer = send(client, ("a.pdf", pdf(tmp_path, CLOCK)))
    assert answer.status_code == 403
    assert "--allow-ingest" in answer.json()["error"]["hint"]
    assert client.delete(f"/v1/documents/{'ab' * 32}").status_code == 403


def test_too_many_waiting_uploads_are_refused(started, tmp_path: Path):
    client = started(most_jobs=1)
    jobs = client.app.state.jobs
    with jobs._alone():  # the thread waits for its turn with the first
        first = send(client, ("a.pdf", pdf(tmp_path, CLOCK)))
        until = time.monotonic() + 5
        while jobs._waiting.qsize() and time.monotonic() < until:
            time.sleep(0.01)
        answers = [send(client, ("b.pdf", pdf(tmp_path, FERRY, str(n)))) for n in range(3)]
        assert first.status_code == 202
        assert answers[-1].status_code == 429
        assert answers[-1].headers["retry-after"]
    assert ended(client, first.json()["job"])["state"] == "done"


def test_what_was_accepted_is_ingested_by_the_next_start(started, tmp_path: Path, folder: Path):
    """Whether the server was stopped in good order or killed: the file and its mark are on disk."""
    client = started()
    with client.app.state.jobs._alone():
        job = send(client, ("late.pdf", pdf(tmp_path, CLOCK))).json()
        client.app.state.jobs.stop()
    client.__exit__(None, None, None)
    assert job["state"] == "waiting"
    (folder / "uploads" / ".half.pdf.part").write_bytes(b"%PDF-")
    again = started()
    until = time.monotonic() + 60
    while time.monotonic() < until and len(again.get("/v1/documents").json()["documents"]) < 2:
        time.sleep(0.1)
    assert (
        again.post("/v1/search", json={"query": "pendulum", "k": 1})
        .json()["hits"][0]["file"]
        .endswith("late.pdf")
    )
    again.__exit__(None, None, None)
    assert [path.name for path in (folder / "uploads").iterdir()] == ["late.pdf"]


def test_searches_go_on_during_an_ingest_and_a_stop_loses_nothing(started, tmp_path: Path, folder: Path):
    client = started()
    content = pdf(tmp_path, *[f"{CLOCK} Number {n}." for n in range(120)])
    job = send(client, ("many.pdf", content)).json()["job"]
    found = 0
    while not ((told := client.get(f"/v1/ingest/{job}").json())["progress"] or {}).get("pages"):
        assert not told["end"], told
        found += len(client.post("/v1/search", json={"query": "ferry timetable", "k": 1}).json()["hits"])
    assert found
    client.__exit__(None, None, None)  # while it is at work
    stopped = client.app.state.jobs.get(job)
    assert stopped.state == "stopped"
    with Index.open(folder, create=False) as index:
        written = stopped.as_json()["progress"]["pages"]
        assert 0 < written < 120
        assert index.search("pendulum", k=100, filter={"file_name": "many.pdf"})
    again = started()
    until = time.monotonic() + 100
    while time.monotonic() < until:
        pages = {
            d["file"].rpartition("/")[2]: d["pages"] for d in again.get("/v1/documents").json()["documents"]
        }
        if pages["many.pdf"] == 120:
            break
        time.sleep(0.2)
    assert pages["many.pdf"] == 120


