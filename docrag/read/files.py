"""Finding the files to read, and identifying their content."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from docrag.errors import NotFound, UnreadableDocument

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})
SUFFIXES = IMAGE_SUFFIXES | {".pdf"}

OnUnreadable = Callable[[Path, UnreadableDocument], None]
"""Called with each path that cannot be accessed, and the reason."""


def find_files(paths: Sequence[Path], on_unreadable: OnUnreadable | None = None) -> list[Path]:
    """Return the documents at some paths, each once, in the order in which they are found.

    Folders are walked in sorted order; hidden entries are skipped, and only PDFs and images are picked.
    A file that is named itself is always kept, so that a file of a wrong type is refused with a reason later.

    Args:
        paths: Files and folders.
        on_unreadable: Called for each folder that cannot be listed. Without it the error is raised, because
            skipping a folder silently could lose its documents.

    Raises:
        NotFound: A path does not exist.
        UnreadableDocument: A folder cannot be listed, and there is no `on_unreadable`.
    """
    found: dict[Path, None] = {}
    visited: set[tuple[int, int]] = set()
    for path in paths:
        try:
            is_folder, exists = path.is_dir(), path.exists()
        except OSError as error:
            _report_unreadable(path, error, on_unreadable)
            continue
        if is_folder:
            found.update(dict.fromkeys(_walk(path, visited, on_unreadable)))
        elif exists:
            found[path] = None
        else:
            raise NotFound(
                f"{path} does not exist", "check the path; it is relative to the working directory"
            )
    logger.debug("found %d files at %d paths", len(found), len(paths))
    return list(found)


def sha256(path: Path) -> str:
    """Return the sha256 of a file's content, hexadecimal.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _walk(folder: Path, visited: set[tuple[int, int]], on_unreadable: OnUnreadable | None) -> Iterator[Path]:
    """The documents in a folder and below it; `visited` holds (device, inode) of the folders already seen."""
    try:
        status = folder.stat()
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        _report_unreadable(folder, error, on_unreadable)
        return
    # A symlink to a folder further up would otherwise be walked forever.
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
            _report_unreadable(path, error, on_unreadable)
            continue
        if is_folder:
            yield from _walk(path, visited, on_unreadable)
        elif is_file and path.suffix.lower() in SUFFIXES:
            yield path


def _report_unreadable(path: Path, error: OSError, on_unreadable: OnUnreadable | None) -> None:
    unreadable = UnreadableDocument(f"{path}: {error.strerror}", "check the folder's permissions")
    if on_unreadable is None:
        raise unreadable from error
    on_unreadable(path, unreadable)
