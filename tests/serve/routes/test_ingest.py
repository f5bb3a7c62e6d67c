"""Uploads, their progress, and removal, through the API."""

from __future__ import annotations

import errno
import io
import logging
import time
from pathlib import Path
from typing import BinaryIO

import pytest
from fastapi.testclient import TestClient

from docrag import Index
from docrag.serve.uploads import Uploads
from tests.samples import CLOCK, FERRY, make_image
from tests.serve.uploading import make_pdf, parse_events, upload, wait_for_job


@pytest.mark.slow
def test_a_document_is_uploaded_found_and_removed(started, tmp_path: Path):
    client = started()
    accepted = upload(client, ("../../clocks.pdf", make_pdf(tmp_path, CLOCK)))
    assert accepted.status_code == 202, accepted.text
    job_id = accepted.json()["job"]
    assert accepted.headers["location"] == f"/v1/ingest/{job_id}"
    job = wait_for_job(client, job_id)
    assert job["state"] == "done"
    assert [(file["file"], file["status"], file["pages"]) for file in job["files"]] == [
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


@pytest.mark.slow
def test_progress_comes_as_events_and_a_client_can_reconnect(started, tmp_path: Path):
    client = started()
    files = ("a.pdf", make_pdf(tmp_path, CLOCK, FERRY)), ("b.txt", b"no document")
    job_id = upload(client, *files).json()["job"]
    stream = client.get(f"/v1/ingest/{job_id}/events")
    assert stream.headers["content-type"].startswith("text/event-stream")
    sent = parse_events(stream.text)
    assert (sent[0][0], sent[0][1]["status"]) == ("file", "failed")
    assert {name for name, _ in sent} == {"file", "progress", "end"}
    assert sent[-1] == ("end", {"state": "done", "summary": sent[-1][1]["summary"]})
    assert sent[-1][1]["summary"]["pages"] == 2
    rest = client.get(f"/v1/ingest/{job_id}/events", headers={"Last-Event-ID": str(len(sent) - 2)})
    assert parse_events(rest.text) == sent[-1:]


def test_a_file_in_the_index_that_was_not_uploaded_stays_on_disk(started, folder: Path):
    client = started()
    document = client.get("/v1/documents").json()["documents"][0]
    assert client.delete(f"/v1/documents/{document['document_id']}").json() == {"pages": 2}
    assert Path(document["file"]).is_file()
    assert client.get("/v1/documents").json()["documents"] == []


@pytest.mark.slow
def test_only_a_different_content_under_the_same_name_gets_a_number(started, tmp_path: Path):
    client = started()
    clock, ferry = make_pdf(tmp_path, CLOCK), make_pdf(tmp_path, FERRY, "more")
    for content, status, name in (
        (clock, "added", "a.pdf"),
        (ferry, "added", "a (2).pdf"),
        (clock, "unchanged", "a.pdf"),
        (ferry, "unchanged", "a (2).pdf"),
    ):
        job = wait_for_job(client, upload(client, ("a.pdf", content)).json()["job"])
        assert [(file["status"], file["file"]) for file in job["files"]] == [(status, name)]


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [("a.pdf", b"", 422), ("a.pdf", b"MZ\x90\x00", 415), ("a.png", b"<svg/>", 415), ("a", b"GIF89a", 415)],
)
def test_a_file_that_is_not_a_document_is_refused_at_once(started, name: str, content: bytes, status: int):
    client = started()
    response = upload(client, (name, content))
    assert response.status_code == status
    assert response.json()["error"]["hint"]
    assert not client.app.state.settings.uploads.exists() or not list(
        client.app.state.settings.uploads.iterdir()
    )


@pytest.mark.slow
def test_files_that_were_kept_before_the_disk_was_full_are_ingested(started, tmp_path: Path, monkeypatch):
    """Otherwise they would wait until the next start, and the client would not know."""
    client, content = started(), make_pdf(tmp_path, CLOCK)
    write = Uploads._write

    def write_until_full(self: Uploads, path: Path, content: BinaryIO) -> None:
        if path.name != "a.pdf":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, path, content)

    monkeypatch.setattr(Uploads, "_write", write_until_full)
    job = wait_for_job(
        client, upload(client, ("a.pdf", content), ("b.pdf", make_pdf(tmp_path, FERRY))).json()["job"]
    )
    assert [(file["file"], file["status"]) for file in job["files"]] == [
        ("b.pdf", "failed"),
        ("a.pdf", "added"),
    ]
    assert "no space" in job["files"][0]["error"]
    assert upload(client, ("c.pdf", make_pdf(tmp_path, "Another."))).status_code == 507


def test_a_removed_page_is_not_shown(started, tmp_path: Path):
    client = started()
    hit = client.post("/v1/search", json={"query": "apple", "k": 1}).json()["hits"][0]
    addresses = [
        hit["image_url"],
        f"/v1/pages/{hit['page_id']}/heatmap?q=apple",
        f"/page/{hit['page_id']}?q=apple",
    ]
    assert [client.get(address).status_code for address in addresses] == [200] * 3
    client.delete(f"/v1/documents/{hit['document_id']}")
    assert [client.get(address).status_code for address in addresses] == [404] * 3


def test_several_files_without_a_document_are_refused_at_once(started):
    client = started()
    assert upload(client, ("a.txt", b"words"), ("b.txt", b"more words")).status_code == 415


def test_a_broken_or_long_document_is_refused_by_its_job_and_not_kept(started, tmp_path: Path):
    client = started(max_pages=2)
    long, broken = make_pdf(tmp_path, "one", "two", "three"), b"%PDF-1.7\nnothing more"
    job = wait_for_job(client, upload(client, ("long.pdf", long), ("broken.pdf", broken)).json()["job"])
    errors = {file["file"]: file["error"] for file in job["files"]}
    assert "has 3 pages, and at most 2 are accepted" in errors["long.pdf"]
    assert errors["broken.pdf"]
    assert str(client.app.state.settings.uploads) not in str(job)  # clients do not see where files are kept
    assert list(client.app.state.settings.uploads.iterdir()) == []
    assert len(client.get("/v1/documents").json()["documents"]) == 1


@pytest.mark.slow
def test_an_indexed_document_that_is_sent_again_and_fails_keeps_its_file(started, tmp_path: Path):
    client, content = started(), make_pdf(tmp_path, CLOCK, FERRY)
    job = wait_for_job(client, upload(client, ("two.pdf", content)).json()["job"])
    assert job["files"][0]["status"] == "added"
    client.__exit__(None, None, None)
    client = started(max_pages=1)
    job = wait_for_job(client, upload(client, ("two.pdf", content)).json()["job"])
    assert job["files"][0]["status"] == "failed"
    [name] = (client.app.state.settings.folder / "uploads").iterdir()  # and no marker
    assert name.read_bytes() == content


@pytest.mark.slow
def test_an_image_is_a_document_too(started):
    client = started()
    content = io.BytesIO()
    make_image(2).save(content, "PNG")
    job = wait_for_job(client, upload(client, ("photo.jpeg", content.getvalue())).json()["job"])
    assert job["files"][0]["status"] == "added", job
    assert job["files"][0]["file"] == "photo.jpeg.png"  # its content decides what it is


def test_limits_of_an_upload(started, tmp_path: Path):
    client = started(max_files=2, max_upload_bytes=20_000)
    small = make_pdf(tmp_path, CLOCK)
    assert upload(client, *[(f"{n}.pdf", small) for n in range(3)]).status_code == 413
    assert upload(client, ("large.pdf", b"%PDF-" + bytes(30_000))).status_code == 413

    def endless():
        for _ in range(1000):
            yield b"x" * 1000

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    response = client.post("/v1/ingest", content=endless(), headers=headers)  # no Content-Length
    assert response.status_code == 413
    assert client.post("/v1/ingest", data={"files": "text"}).status_code == 422
    assert client.post("/v1/ingest", content=b"--b\r\nbroken", headers=headers).status_code in (400, 422)


def test_a_read_only_server_refuses_changes(client: TestClient, tmp_path: Path):
    response = upload(client, ("a.pdf", make_pdf(tmp_path, CLOCK)))
    assert response.status_code == 403
    assert "--allow-ingest" in response.json()["error"]["hint"]
    assert client.delete(f"/v1/documents/{'ab' * 32}").status_code == 403


@pytest.mark.slow
def test_too_many_waiting_uploads_are_refused(started, tmp_path: Path):
    client = started(max_waiting_jobs=1)
    jobs = client.app.state.jobs
    with jobs._exclusive():  # the thread waits for the lock with the first job
        first = upload(client, ("a.pdf", make_pdf(tmp_path, CLOCK)))
        deadline = time.monotonic() + 5
        while jobs._queue.qsize() and time.monotonic() < deadline:
            time.sleep(0.01)
        responses = [upload(client, ("b.pdf", make_pdf(tmp_path, FERRY, str(n)))) for n in range(3)]
        assert first.status_code == 202
        assert responses[-1].status_code == 429
        assert responses[-1].headers["retry-after"]
    assert wait_for_job(client, first.json()["job"])["state"] == "done"


@pytest.mark.slow
def test_accepted_documents_are_ingested_by_the_next_start(started, tmp_path: Path, folder: Path):
    """Whether the server was stopped or killed: the file and its marker are on disk."""
    client = started()
    with client.app.state.jobs._exclusive():
        job = upload(client, ("late.pdf", make_pdf(tmp_path, CLOCK))).json()
        client.app.state.jobs.stop()
    client.__exit__(None, None, None)
    assert job["state"] == "waiting"
    (folder / "uploads" / ".half.pdf.part").write_bytes(b"%PDF-")
    client = started()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(client.get("/v1/documents").json()["documents"]) < 2:
        time.sleep(0.1)
    assert (
        client.post("/v1/search", json={"query": "pendulum", "k": 1})
        .json()["hits"][0]["file"]
        .endswith("late.pdf")
    )
    client.__exit__(None, None, None)
    assert [path.name for path in (folder / "uploads").iterdir()] == ["late.pdf"]


@pytest.mark.slow
def test_searches_go_on_during_an_ingest_and_a_stop_loses_nothing(started, tmp_path: Path, folder: Path):
    client = started()
    content = make_pdf(tmp_path, *[f"{CLOCK} Number {n}." for n in range(120)])
    job_id = upload(client, ("many.pdf", content)).json()["job"]
    hits = 0
    while True:
        job = client.get(f"/v1/ingest/{job_id}").json()
        if job["progress"] and job["progress"]["pages"]:
            break
        assert not job["end"], job
        hits += len(client.post("/v1/search", json={"query": "ferry timetable", "k": 1}).json()["hits"])
    assert hits
    client.__exit__(None, None, None)  # while the job runs
    stopped = client.app.state.jobs.get(job_id)
    assert stopped.state == "stopped"
    with Index.open(folder, create=False) as index:
        written = stopped.as_json()["progress"]["pages"]
        assert 0 < written < 120
        assert index.search("pendulum", k=100, filter={"file_name": "many.pdf"})
    client = started()
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        pages = {
            d["file"].rpartition("/")[2]: d["pages"] for d in client.get("/v1/documents").json()["documents"]
        }
        if pages["many.pdf"] == 120:
            break
        time.sleep(0.2)
    assert pages["many.pdf"] == 120


@pytest.mark.slow
def test_jobs_and_refusals_are_logged(started, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="docrag.serve")
    client = started()
    accepted = upload(client, ("clock.pdf", make_pdf(tmp_path, CLOCK)), ("notes.txt", b"no document"))
    job_id = accepted.json()["job"]
    wait_for_job(client, job_id)
    client.__exit__(None, None, None)
    messages = [record.getMessage() for record in caplog.records]
    assert "accepted upload 'clock.pdf'" in messages
    assert any(message.startswith("refused upload 'notes.txt': ") for message in messages)
    assert f"job {job_id} queued (files accepted: 1, refused: 1)" in messages
    assert f"job {job_id} started" in messages
    assert any(message.startswith(f"job {job_id} done: ") for message in messages)
