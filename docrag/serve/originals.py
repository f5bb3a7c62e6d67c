"""The files that were ingested, while they are still where they were and what they were."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from docrag.errors import NotFound
from docrag.types import IndexedDocument

_PDF = b"%PDF-"


def standing(files: Sequence[str]) -> Path | None:
    """The first of a document's files that is still there, its content not looked at; None for none.

    Args:
        files: Paths as ingested; relative ones are found from the same working directory alone.
    """
    return next((path for path in map(Path, files) if path.is_file()), None)


def original(document: IndexedDocument) -> Path:
    """The PDF that a document was read from.

    Raises:
        NotFound: It is gone, holds something else by now, or is no PDF.
    """
    hint = "ingest it again where it is now"
    if standing(document.files) is None:
        raise NotFound(f"{document.file} is not there any more", hint)
    for path in map(Path, document.files):
        if path.is_file() and _digest_now(path) == document.id:
            if _is_pdf(path):
                return path
            raise NotFound(f"{path.name} is not a PDF", "look at its picture")
    raise NotFound(f"{document.file} has changed since it was ingested", hint)


def _digest_now(path: Path) -> str:
    """The sha256 of a file; it is read once as long as it does not change."""
    stat = path.stat()
    return _digest(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


@lru_cache(maxsize=1024)
def _digest(path: Path, *_state: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_pdf(path: Path) -> bool:
    """Whether the mark of a PDF stands among the first bytes, as readers want it."""
    with path.open("rb") as file:
        return _PDF in file.read(1024)
