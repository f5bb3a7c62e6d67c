"""A job as the API shows it, in the server that works on it and in the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from docrag.ingest.report import FileReport, Progress, WaitingForWriter
from docrag.serve.ingest_job import IngestJob, JobFiles
from docrag.serve.peers import Peers

WRITER = WaitingForWriter("process 7 (docrag ingest)")


def test_a_job_says_for_whom_it_waits_until_it_goes_on():
    job = IngestJob([Path("/srv/uploads/a.pdf")])
    assert job.as_json()["waiting_for"] is None
    job.start()
    job.record(WRITER)
    assert job.as_json()["waiting_for"] == "process 7 (docrag ingest)"
    assert job.as_json()["state"] == "running"
    job.record(Progress(1, 2, "/srv/uploads/a.pdf"))
    assert job.as_json()["waiting_for"] is None


@pytest.fixture
def own(tmp_path: Path) -> JobFiles:
    return JobFiles(Peers(tmp_path / ".serve"))


@pytest.fixture
def other(tmp_path: Path) -> JobFiles:
    return JobFiles(Peers(tmp_path / ".serve"))


def test_another_server_shows_a_job_in_every_state(own: JobFiles, other: JobFiles):
    job = IngestJob([Path("/srv/uploads/a.pdf")], [FileReport("b.txt", "failed", 0, "no document")])

    def require_same() -> None:
        read = other.read(job.id)
        assert read is not None
        assert (read.as_json(), read.is_own) == (job.as_json(), False)

    job.record(job.refused[0])
    own.create(job)
    require_same()
    assert job.as_json()["waiting_files"] == ["a.pdf"]
    job.start()
    require_same()
    job.record(WRITER)
    require_same()
    job.record(FileReport("/srv/uploads/a.pdf", "added", 3))
    require_same()
    job.end("done", summary={"added": 1})
    require_same()
    own.remove(job.id)
    assert other.read(job.id) is None


def test_a_job_ends_with_its_server(own: JobFiles, other: JobFiles, tmp_path: Path):
    job = IngestJob([Path("a.pdf")])
    own.create(job)
    other.forget_dead()
    assert other.read(job.id) is not None
    own._peers.leave()  # what a killed server leaves is the same, but for the file of its lock
    assert other.read(job.id) is None
    other.forget_dead()
    assert not list((tmp_path / ".serve").glob("*.jsonl"))


def test_an_event_that_is_half_written_does_not_count_yet(own: JobFiles, other: JobFiles, tmp_path: Path):
    job = IngestJob([Path("a.pdf")])
    own.create(job)
    path = tmp_path / ".serve" / f"{job.id}.jsonl"
    path.write_bytes(path.read_bytes() + b'["progress",{"pages"')
    read = other.read(job.id)
    assert (read and read.events, read and read.state) == ([], "waiting")
    path.write_bytes(b'{"server"')
    assert other.read(job.id) is None
