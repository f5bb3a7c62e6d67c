"""What an ingest tells while it goes on and when it ends."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

FileStatus = Literal["added", "updated", "unchanged", "removed", "failed"]
STATUSES: tuple[FileStatus, ...] = ("added", "updated", "unchanged", "removed", "failed")


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of one file."""

    file: str
    """The path as ingested."""
    status: FileStatus
    pages: int = 0
    """Pages in the index; pages removed where the status is removed."""
    error: str | None = None
    """Why it failed, or which of its pages did, in one line."""
    hint: str = ""
    note: str = ""
    """What a person should know though nothing failed: pages that had more vectors than can be stored."""

    def as_json(self) -> dict[str, Any]:
        """The command line's contract."""
        line = {"file": self.file, "status": self.status, "pages": self.pages, "error": self.error}
        return line | {name: said for name, said in (("hint", self.hint), ("note", self.note)) if said}


@dataclass(frozen=True, slots=True)
class Progress:
    """Pages were written."""

    pages: int
    """Written so far."""
    known: int
    """Of the documents opened so far."""
    file: str
    """One that is being read."""


@dataclass(slots=True)
class IngestReport:
    """What became of every file, and what it took."""

    files: list[FileReport] = field(default_factory=list)
    pages: int = 0
    """Pages encoded and written."""
    seconds: float = 0.0
    waited: float = 0.0
    """Seconds in which the encoder had nothing to do."""
    addressed: int = 0
    """Pages that were told that their images are served elsewhere now."""
    stopped: bool = False
    """Whether it was told to stop before it came to all files."""

    @property
    def failures(self) -> list[FileReport]:
        """Files that failed, whole or in part."""
        return [file for file in self.files if file.error is not None]

    @property
    def noted(self) -> list[FileReport]:
        """Files of which a person should know something though they did not fail for it."""
        return [file for file in self.files if file.note]

    def summary(self) -> dict[str, Any]:
        """The command line's contract: counts by status, and what it took."""
        counts = Counter(file.status for file in self.files)
        return {
            **{status: counts[status] for status in STATUSES},
            "pages": self.pages,
            "seconds": round(self.seconds, 3),
            "pages_per_second": round(self.pages / self.seconds, 2) if self.seconds else 0.0,
            "encoder_waited_seconds": round(self.waited, 3),
        }
