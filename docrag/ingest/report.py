"""What an ingest reports while it runs and when it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from docrag.errors import DocumentError, InvalidRecord

FileStatus = Literal["added", "updated", "adopted", "unchanged", "removed", "failed"]
STATUSES: tuple[FileStatus, ...] = get_args(FileStatus)

Losses = list[tuple[int, DocumentError | InvalidRecord]]
"""Page numbers of a document that were lost in whole or in part, each with the reason."""


@dataclass(frozen=True, slots=True)
class FileReport:
    """What happened to one file."""

    file: str
    """The path as ingested."""
    status: FileStatus
    """adopted: every page was stored already, by another machine for example, and nothing was read."""
    pages: int = 0
    """Pages in the index; if the status is "removed", the pages that were removed."""
    error: str | None = None
    """Why the file failed, or which of its pages did, in one line."""
    hint: str = ""
    """What to do about the error."""
    note: str = ""
    """What a person should know although nothing failed, such as pages with more vectors than can be
    stored."""

    def as_json(self) -> dict[str, Any]:
        """The line that `docrag ingest --json` prints."""
        line: dict[str, Any] = {
            "file": self.file,
            "status": self.status,
            "pages": self.pages,
            "error": self.error,
        }
        if self.hint:
            line["hint"] = self.hint
        if self.note:
            line["note"] = self.note
        return line


@dataclass(frozen=True, slots=True)
class Progress:
    """Pages were written."""

    pages: int
    """Pages written so far."""
    known: int
    """Pages of the documents opened so far."""
    file: str
    """A file that is being read."""


@dataclass(frozen=True, slots=True)
class WaitingForWriter:
    """Somebody else is changing the index. What was begun here goes on once they have ended."""

    holder: str
    """Who it is, such as "process 1234 (docrag ingest)" or "this process"."""


IngestEvent = Progress | FileReport | WaitingForWriter


@dataclass(slots=True)
class IngestReport:
    """What happened to every file, and how long it took."""

    files: list[FileReport] = field(default_factory=list)
    pages: int = 0
    """Pages encoded and written."""
    seconds: float = 0.0
    waited: float = 0.0
    """Seconds in which the encoders had nothing to do."""
    addressed: int = 0
    """Pages whose image URL was changed."""
    unlisted: list[str] = field(default_factory=list)
    """Paths of documents that are stored and that no file here belongs to: restoring an older snapshot brings
    them back. They are found until they are removed; an ingest of their files adopts them."""
    stopped: bool = False
    """Whether the ingest was told to stop before it had processed all files."""

    @property
    def failures(self) -> list[FileReport]:
        """Files that failed, whole or in part."""
        return [file for file in self.files if file.error is not None]

    @property
    def noted(self) -> list[FileReport]:
        """Files with a note."""
        return [file for file in self.files if file.note]

    def summary(self) -> dict[str, Any]:
        """The summary that `docrag ingest --json` prints: counts by status, pages and seconds."""
        counts = Counter(file.status for file in self.files)
        return {
            **{status: counts[status] for status in STATUSES},
            "pages": self.pages,
            "seconds": round(self.seconds, 3),
            "pages_per_second": round(self.pages / self.seconds, 2) if self.seconds else 0.0,
            "encoder_waited_seconds": round(self.waited, 3),
            **({"unlisted": self.unlisted} if self.unlisted else {}),
        }


def describe_losses(losses: Losses) -> tuple[str, str]:
    """Which pages were lost and why, in one line, and the hint of the first loss.

    >>> describe_losses([(2, DocumentError("cycle in page tree")), (1, DocumentError("cycle in page tree"))])
    ('pages 1, 2: cycle in page tree', '')
    """
    text = describe([(number, error.message) for number, error in losses])
    return text, losses[0][1].hint if losses else ""


def describe(remarks: Sequence[tuple[int, str]]) -> str:
    """Remarks about pages in one line, equal remarks together.

    >>> describe([(2, "no words"), (3, "too large"), (1, "no words")])
    'pages 1, 2: no words; page 3: too large'
    """
    pages_by_remark: dict[str, list[int]] = {}
    for number, remark in sorted(remarks, key=lambda item: item[0]):
        pages_by_remark.setdefault(remark, []).append(number)
    parts = []
    for remark, numbers in pages_by_remark.items():
        listed = ", ".join(str(number) for number in numbers[:10]) + (", ..." if len(numbers) > 10 else "")
        parts.append(f"page{'s' if len(numbers) > 1 else ''} {listed}: {remark}")
    return "; ".join(parts)
