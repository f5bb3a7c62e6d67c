"""What one attempt of a job stored, the next one does not begin again."""

from __future__ import annotations

from pathlib import Path

import pytest

from docrag.errors import ServerUnreachable
from docrag.ingest.report import FileReport, IngestReport, Progress
from docrag.serve.ingest_attempts import IngestAttempts
from docrag.serve.ingest_job import IngestJob

A, B = Path("/up/a.pdf"), Path("/up/b.pdf")


def test_the_next_attempt_reads_what_remains_and_the_summary_has_all():
    finished: list[str] = []
    job = IngestJob([A, B])
    attempts = IngestAttempts(job, lambda report: finished.append(report.file), lambda report: report)
    attempts.readable += [A, B]
    attempts.record(Progress(3, 5, str(A)))
    attempts.record(FileReport(str(A), "added", 3))
    assert attempts.remaining() == [B]
    job.wait_for_server()
    assert job.as_json()["waiting_for"] == "the Qdrant server"
    attempts.begin_next()
    assert job.as_json()["waiting_for"] is None
    attempts.record(Progress(2, 2, str(B)))
    attempts.record(FileReport(str(B), "added", 2))
    last = IngestReport(files=[FileReport(str(B), "added", 2)], pages=2, seconds=1)
    summary = attempts.summary(last)
    assert (summary["added"], summary["pages"]) == (2, 5)
    assert finished == [str(A), str(B)]
    assert [file["file"] for file in job.as_json()["files"]] == ["a.pdf", "b.pdf"]


def test_attempts_that_finish_no_file_are_counted():
    attempts = IngestAttempts(IngestJob([A, B]), lambda report: None, lambda report: report)
    assert attempts.fruitless == 1
    attempts.begin_next()
    assert attempts.fruitless == 2
    attempts.record(FileReport(str(A), "added", 3))
    attempts.begin_next()
    assert attempts.fruitless == 1


def test_a_file_that_was_refused_is_no_part_of_the_summary():
    finished: list[str] = []
    attempts = IngestAttempts(
        IngestJob([A]), lambda report: finished.append(report.file), lambda report: report
    )
    attempts.refused.append(FileReport(str(A), "failed", 0, "broken"))
    attempts.refuse_unreadable()
    assert (finished, attempts.refused) == ([str(A)], [])
    assert attempts.summary(IngestReport())["failed"] == 0


def test_a_file_that_cannot_be_refused_while_the_server_is_away_is_refused_later():
    away = [True]

    def finish(report: FileReport) -> None:
        if report.file == str(B) and away.pop():
            away.append(False)
            raise ServerUnreachable("the server does not answer")

    job = IngestJob([A, B])
    attempts = IngestAttempts(job, finish, lambda report: report)
    attempts.refused += [FileReport(str(path), "failed", 0, "broken") for path in (A, B)]
    with pytest.raises(ServerUnreachable):
        attempts.refuse_unreadable()
    attempts.refuse_unreadable()
    assert [file["file"] for file in job.as_json()["files"]] == ["a.pdf", "b.pdf"]
