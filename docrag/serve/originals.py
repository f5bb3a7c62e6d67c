"""The original files, as long as they are where they were ingested from and have not changed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from docrag.errors import NotFound
from docrag.types import IndexedDocument

_PDF_HEADER = b"%PDF-"


class _FileState(NamedTuple):
    """What changes when a file changes."""

    size: int
    modified: int
    inode: int


def existing_file(files: Sequence[str]) -> Path | None:
    """The first of a document's files that exists, without a look at its content; None if none does.

    Args:
        files: Paths as ingested. Relative ones are only found from the same working directory.
    """
    return next((path for path in map(Path, files) if _state(path) is not None), None)


def original_pdf(document: IndexedDocument) -> Path:
    """The PDF that a document was read from.

    Raises:
        NotFound: It is gone, has changed, or is not a PDF.
    """
    hint = "ingest it again from where it is now"
    if existing_file(document.files) is None:
        raise NotFound(f"{document.file} no longer exists", hint)
    for path in map(Path, document.files):
        if _current_digest(path) == document.id:
            if _is_pdf(path):
                return path
            raise NotFound(f"{path.name} is not a PDF", "look at the image of the page instead")
    raise NotFound(f"{document.file} has changed since it was ingested, or cannot be read", hint)


def _state(path: Path) -> _FileState | None:
    """The state of a file; None if it does not exist or may not be looked at."""
    with suppress(OSError):
        stat = path.stat()
        if S_ISREG(stat.st_mode):
            return _FileState(stat.st_size, stat.st_mtime_ns, stat.st_ino)
    return None


def _current_digest(path: Path) -> str:
    """The sha256 of a file, empty if it cannot be read; computed once as long as the file does not change."""
    with suppress(OSError):
        state = _state(path)
        if state is not None:
            return _digest(path, state)
    return ""


@lru_cache(maxsize=1024)
def _digest(path: Path, _state: _FileState) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_pdf(path: Path) -> bool:
    """Whether the header of a PDF is among the first bytes, where readers look for it."""
    with path.open("rb") as file:
        return _PDF_HEADER in file.read(1024)
