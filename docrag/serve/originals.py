"""The files that were ingested, while they are still where they were and what they were."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG

from docrag.errors import NotFound
from docrag.types import IndexedDocument

_PDF = b"%PDF-"


def standing(files: Sequence[str]) -> Path | None:
    """The first of a document's files that is still there, its content not looked at; None for none.

    Args:
        files: Paths as ingested; relative ones are found from the same working directory alone.
    """
    return next((path for path in map(Path, files) if _state(path)), None)


def original(document: IndexedDocument) -> Path:
    """The PDF that a document was read from.

    Raises:
        NotFound: It is gone, holds something else by now, or is no PDF.
    """
    hint = "ingest it again where it is now"
    if standing(document.files) is None:
        raise NotFound(f"{document.file} is not there any more", hint)
    for path in map(Path, document.files):
        if _digest_now(path) == document.id:
            if _is_pdf(path):
                return path
            raise NotFound(f"{path.name} is not a PDF", "look at its picture")
    raise NotFound(f"{document.file} has changed since it was ingested, or cannot be read", hint)


def _state(path: Path) -> tuple[int, ...]:
    """What changes with a file; nothing where none can be seen, which may be for want of rights."""
    with suppress(OSError):
        stat = path.stat()
        if S_ISREG(stat.st_mode):
            return stat.st_size, stat.st_mtime_ns, stat.st_ino
    return ()


def _digest_now(path: Path) -> str:
    """The sha256 of a file, empty where it cannot be read; it is read once as long as it does not change."""
    with suppress(OSError):
        if state := _state(path):
            return _digest(path, *state)
    return ""


@lru_cache(maxsize=1024)
def _digest(path: Path, *_state: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_pdf(path: Path) -> bool:
    """Whether the mark of a PDF stands among the first bytes, as readers want it."""
    with path.open("rb") as file:
        return _PDF in file.read(1024)
