"""Finding the files to read, and naming their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from docrag.errors import NotFound, UnreadableDocument

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})
SUFFIXES = IMAGE_SUFFIXES | {".pdf"}


def find_files(paths: Sequence[Path]) -> list[Path]:
    """The documents under some paths, each once, in the order in which they are met.

    Folders are walked in sorted order, without what is hidden, and only PDFs and images are picked from
    them. A file that is named itself is always kept, so that a wrong type is refused with a reason.

    Raises:
        NotFound: A path does not exist.
        UnreadableDocument: A folder cannot be looked into; to leave it out silently could lose its documents.
    """
    found: dict[Path, None] = {}
    visited: set[tuple[int, int]] = set()
    for path in paths:
        if path.is_dir():
            found.update(dict.fromkeys(_walk(path, visited)))
        elif path.exists():
            found[path] = None
        else:
            raise NotFound(f"{path} does not exist", "check the path; it is taken from the working directory")
    return list(found)


def sha256(path: Path) -> str:
    """The sha256 of a file's content, hexadecimal.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _walk(folder: Path, visited: set[tuple[int, int]]) -> Iterator[Path]:
    """The documents in a folder and below; `visited` holds the (device, inode) of folders already seen."""
    try:
        status = folder.stat()
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise UnreadableDocument(f"{folder}: {error.strerror}", "check the folder's permissions") from error
    # A symlink to a folder above would be walked for ever.
    if (status.st_dev, status.st_ino) in visited:
        return
    visited.add((status.st_dev, status.st_ino))
    for path in entries:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, visited)
        elif path.suffix.lower() in SUFFIXES and path.is_file():
            yield path
