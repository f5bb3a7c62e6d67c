"""The attempts of a job to store its files: what one of them stored, the next one does not begin again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from docrag.ingest.report import FileReport, IngestEvent, IngestReport, Progress
from docrag.serve.ingest_job import IngestJob


class IngestAttempts:
    """What the attempts of one job have done so far.

    Args:
        job: Records what happens.
        finish_file: Called for each file that is stored or has failed.
        for_clients: Makes of a report the one that clients see.
    """

    def __init__(
        self,
        job: IngestJob,
        finish_file: Callable[[FileReport], None],
        for_clients: Callable[[FileReport], FileReport],
    ) -> None:
        self.readable: list[Path] = []
        """The files that can be read."""
        self.refused: list[FileReport] = []
        """What is wrong with the others, as long as it is not recorded."""
        self.fruitless = 1
        """Attempts since the last file was finished, the present one included."""
        self._job = job
        self._finish_file = finish_file
        self._for_clients = for_clients
        self._reports: dict[str, FileReport] = {}
        self._earlier_pages = 0
        self._progress = Progress(0, 0, "")

    def record(self, event: IngestEvent) -> None:
        """Record what an ingest reports."""
        if isinstance(event, FileReport):
            self._finish(event)
            self._reports[event.file] = event
            self.fruitless = 0
            return
        if isinstance(event, Progress):
            self._progress = event
        self._job.record(event)

    def refuse_unreadable(self) -> None:
        """Record what is wrong with the files that no ingest is to read.

        Raises:
            DocragError: `finish_file` has failed; the next call goes on with the same file.
        """
        while self.refused:
            self._finish(self.refused[0])
            del self.refused[0]

    def remaining(self) -> list[Path]:
        """The files that are neither stored nor have failed."""
        return [path for path in self.readable if str(path) not in self._reports]

    def begin_next(self) -> None:
        """Begin another attempt, and let the job say that it goes on."""
        self.fruitless += 1
        self._earlier_pages += self._progress.pages
        self._progress = Progress(0, 0, self._progress.file)
        self._job.start()

    def summary(self, report: IngestReport) -> dict[str, Any]:
        """What all attempts have done.

        Args:
            report: What the last one says.
        """
        report.files = list(self._reports.values())
        report.pages += self._earlier_pages
        return report.summary()

    def _finish(self, report: FileReport) -> None:
        self._finish_file(report)
        self._job.record(self._for_clients(report))
