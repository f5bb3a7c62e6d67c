"""Finding the files to read, and naming their content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from docrag.errors import NotFound, UnreadableDocument

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})
SUFFIXES = IMAGE_SUFFIXES | {".pdf"}

DocumentRefused = Callable[[Path, UnreadableDocument], None]


def find_files(paths: Sequence[Path], refused: DocumentRefused | None = None) -> list[Path]:
    """The documents under some paths, each once, in the order in which they are met.

    Folders are walked in sorted order, without what is hidden, and only PDFs and images are picked from
    them. A file that is named itself is always kept, so that a wrong type is refused with a reason.

    Args:
        paths: Files and folders.
        refused: Hears of each folder that cannot be looked into; without it the error is raised, for to leave
            one out silently could lose its documents.

    Raises:
        NotFound: A path does not exist.
        UnreadableDocument: A folder cannot be looked into, and nobody hears of it.
    """
    found: dict[Path, None] = {}
    visited: set[tuple[int, int]] = set()
    for path in paths:
        try:
            is_folder, exists = path.is_dir(), path.exists()
        except OSError as error:
            _refuse(path, error, refused)
            continue
        if is_folder:
            found.update(dict.fromkeys(_walk(path, visited, refused)))
        elif exists:
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


def _walk(folder: Path, visited: set[tuple[int, int]], refused: DocumentRefused | None) -> Iterator[Path]:
    """The documents in a folder and below; `visited` holds the (device, inode) of folders already seen."""
    try:
        status = folder.stat()
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        _refuse(folder, error, refused)
        return
    # A symlink to a folder above would be walked for ever.
    if (status.st_dev, status.st_ino) in visited:
        return
    visited.add((status.st_dev, status.st_ino))
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = folder / entry.name
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError as error:  # a link that cannot be followed
            _refuse(path, error, refused)
            continue
        if is_folder:
            yield from _walk(path, visited, refused)
        elif is_file and path.suffix.lower() in SUFFIXES:
            yield path


def _refuse(path: Path, error: OSError, refused: DocumentRefused | None) -> None:
    told = UnreadableDocument(f"{path}: {error.strerror}", "check the folder's permissions")
    if refused is None:
        raise told from error
    refused(path, told)
