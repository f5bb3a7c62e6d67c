"""Where commands write: results to stdout; progress, errors and the log to stderr."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import progress
from rich.console import Console

from docrag.ingest.report import IngestEvent, Progress, WaitingForWriter

if TYPE_CHECKING:
    from docrag.settings import Settings

SOME_FAILED = 3
LOGGED = ("docrag", "mcp_docrag")
"""The loggers that -v makes talk."""

logger = logging.getLogger(__name__)
results = Console(highlight=False, markup=False)
errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print one JSON value on one line of stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


class Monitor:
    """Shows what an ingest reports: a progress bar on stderr, and with --json a line on stdout per file."""

    def __init__(self, *, as_json: bool = False) -> None:
        self._as_json = as_json
        self.bar = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.TextColumn("{task.completed:.0f}/{task.total:.0f} pages"),
            progress.TextColumn("{task.fields[speed]}"),
            console=errors,
            transient=True,
            disable=not errors.is_terminal,
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


class ConsoleHandler(logging.Handler):
    """Prints log records on stderr, above a progress bar where one is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        try:
            errors.print(self.format(record), style="dim" if record.levelno < logging.WARNING else None)
        except Exception:  # noqa: BLE001  a log record that cannot be printed must not end the command
            self.handleError(record)


@contextmanager
def log_to_stderr(verbosity: int) -> Iterator[None]:
    """Print log records on stderr while this lasts.

    Args:
        verbosity: How many times -v was given. 0 prints the warnings and errors of all libraries; 1 also
            INFO, 2 and more also DEBUG of docrag itself.
    """
    handler = ConsoleHandler()
    loggers = [logging.getLogger(name) for name in LOGGED]
    levels = [each.level for each in loggers]
    logging.getLogger().addHandler(handler)
    if verbosity > 0:
        for each in loggers:
            each.setLevel(logging.INFO if verbosity == 1 else logging.DEBUG)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def read_settings(**flags: object) -> Settings:
    """The settings in force: the flags that are not None, then the environment, docrag.toml and defaults.

    They are logged at INFO; keys and passwords are masked.

    Raises:
        SettingsError: A value cannot be used.
    """
    from docrag.settings import load_settings

    settings = load_settings(**flags)
    chosen = [f"{name}={getattr(settings, name)!r}" for name in sorted(settings.model_fields_set)]
    logger.info("settings: %s; all others are at their defaults", mask_passwords(", ".join(chosen)) or "none")
    return settings


def mask_passwords(text: str) -> str:
    """The text without the user names and passwords of the URLs in it.

    >>> mask_passwords("caption_url='http://ada:secret@example.org/v1'")
    "caption_url='http://***@example.org/v1'"
    """
    return re.sub(r"(?<=://)[^/\s'\"]*@", "***@", text)
