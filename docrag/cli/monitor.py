"""What commands show while an ingest, a migration or a transfer runs."""

from __future__ import annotations

from pathlib import Path

from rich import progress

from docrag.cli.console import errors, print_json
from docrag.ingest.report import IngestEvent, Progress, WaitingForWriter


class Monitor:
    """Shows what an ingest reports: a progress bar on stderr, and with --json a line on stdout per file."""

    def __init__(self, *, as_json: bool = False) -> None:
        self._as_json = as_json
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
        elif self._as_json:
            print_json(event.as_json())
