"""What commands show while an ingest, a migration or a transfer runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich import progress

from docrag.cli.console import errors, print_json
from docrag.errors import ServerRefused, ServerUnreachable, StorageFull
from docrag.ingest.report import FileReport, FileStatus, IngestEvent, Progress, WaitingForWriter

STORED: frozenset[FileStatus] = frozenset({"added", "updated", "adopted", "unchanged"})
"""What became of a file whose pages are in the index."""


class Monitor:
    """Shows what an ingest reports: a progress bar on stderr, and with --json a line on stdout per file."""

    def __init__(self, *, as_json: bool = False) -> None:
        self._as_json = as_json
        self._stored: dict[str, FileReport] = {}
        self.bar = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.TextColumn("{task.completed:.0f}/{task.total:.0f} pages"),
            progress.TextColumn("{task.fields[speed]}"),
            console=errors.console,
            transient=True,
            disable=not errors.console.is_terminal,
        )
        self._task = self.bar.add_task("reading", total=0, speed="")

    def __call__(self, event: IngestEvent) -> None:
        """Show one event."""
        if isinstance(event, Progress):
            elapsed = self.bar.tasks[self._task].elapsed or 0.0
            speed = f"{event.pages / elapsed:.1f} pages/s" if elapsed else ""
            name = Path(event.file).name[:40]
            self.bar.update(
                self._task, description=name, completed=event.pages, total=event.known, speed=speed
            )
        elif isinstance(event, WaitingForWriter):
            errors.print(f"waiting for {event.holder}, which is changing the index")
        else:
            self._stored[event.file] = event
            if self._as_json:
                print_json(event.as_json())

    @contextmanager
    def noting_what_is_stored(self) -> Iterator[None]:
        """Say on stderr how much is stored if an ingest within gives up, such as when the server is away."""
        try:
            yield
        except (ServerUnreachable, ServerRefused, StorageFull):
            self._note_what_is_stored()
            raise

    def _note_what_is_stored(self) -> None:
        stored = [event for event in self._stored.values() if event.status in STORED]
        pages = sum(event.pages for event in stored)
        errors.print(
            f"stored so far: {len(stored)} documents with {pages} pages; the same command goes on from there"
        )
