"""Where commands write: results to stdout; progress, errors and the log to stderr."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rich.console import Console

    from docrag.settings import Settings

SOME_FAILED = 3
LOGGED = ("docrag", "mcp_docrag")
"""The loggers that -v makes talk."""

logger = logging.getLogger(__name__)


class Terminal:
    """A stream on which text is printed with rich, which is imported when something is printed first.

    Args:
        stderr: Whether it is stderr, and not stdout.
        soft_wrap: Whether long lines are left for the terminal to wrap, where `print` is told nothing else.
    """

    def __init__(self, *, stderr: bool = False, soft_wrap: bool = False) -> None:
        self._stderr = stderr
        self._soft_wrap = soft_wrap

    @cached_property
    def console(self) -> Console:
        """The console of rich, for what is more than a line of text."""
        from rich.console import Console

        return Console(stderr=self._stderr, soft_wrap=self._soft_wrap, highlight=False, markup=False)

    def print(self, what: Any, *, style: str | None = None, soft_wrap: bool | None = None) -> None:
        """Print a line of text or a table.

        Args:
            what: A text, or anything that rich can print.
            style: Such as "bold red"; it has no effect where the stream is no terminal.
            soft_wrap: Whether long lines are left for the terminal to wrap.
        """
        self.console.print(what, style=style, soft_wrap=soft_wrap)

    def status(self, text: str) -> AbstractContextManager[Any]:
        """Show what is being done while the context lasts, if the stream is a terminal."""
        return self.console.status(text)


results = Terminal()
errors = Terminal(stderr=True, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print one JSON value on one line of stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


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
