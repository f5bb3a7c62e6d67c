"""Copies a folder as it was at one moment, although another process may be writing to it.

Reading all files twice is enough for that: if a second pass finds every file as the first one read it, then
the copy is what the folder held in between. No lock is taken, so whoever only reads never stops a writer.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from docrag.errors import IndexInUse, StorageFull, StoreError

logger = logging.getLogger(__name__)

PATIENCE = 20.0
"""Seconds after which a folder that keeps changing is given up."""

_BLOCK = 128 * 2**10
"""Bytes that are read and compared at a time. The engine's files are sparse: blocks without data are skipped,
so that 12 MB are copied of a small index whose files have a length of 333 MB."""
_PAUSE = 0.05
"""Seconds after which a folder that changed between two passes is read again."""


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder with all its files, as it was at one moment.

    Args:
        source: The folder. Symbolic links in it are followed.
        target: A folder that does not exist yet. If this fails, it holds a part of the copy.

    Raises:
        IndexInUse: The folder was still changing after PATIENCE seconds.
        StorageFull: The disk of the target is full.
        StoreError: A file cannot be read, or the target cannot be written.
    """
    started = time.monotonic()
    with copy_errors(source, target):
        while True:
            _bring_up_to_date(source, target)
            if not _bring_up_to_date(source, target):
                break
            if time.monotonic() - started > PATIENCE:
                raise IndexInUse(
                    f"{source} keeps changing, so that it cannot be copied",
                    "another process is writing to it: try again when it has finished",
                )
            time.sleep(_PAUSE)
    logger.debug("copied %s in %.2f s", source, time.monotonic() - started)


def disk_bytes(folder: Path) -> int:
    """Return how many bytes the files of a folder occupy on the disk.

    Files may be added and removed meanwhile: the engine does so when it optimises.
    """
    size = 0
    for name in _files(folder):
        with suppress(FileNotFoundError):
            size += (folder / name).stat().st_blocks * 512
    return size


def _bring_up_to_date(source: Path, target: Path) -> bool:
    """Copy what differs, and return whether anything did."""
    names = _files(source)
    changed = False
    target.mkdir(exist_ok=True)
    for name in _files(target) - names:
        (target / name).unlink()
        changed = True
    for name in sorted(names):
        try:
            if _copy_if_different(source / name, target / name):
                changed = True
        except FileNotFoundError:  # removed since it was listed
            changed = True
    return changed


def _files(folder: Path) -> set[Path]:
    """The paths of all files of a folder, relative to it."""
    return {
        Path(parent, name).relative_to(folder)
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
    }


def _copy_if_different(source: Path, target: Path) -> bool:
    """Make the target equal to the source, and return whether it was different."""
    with source.open("rb", buffering=0) as reading:
        target.parent.mkdir(parents=True, exist_ok=True)
        is_new = not target.exists()
        with target.open("x+b" if is_new else "r+b", buffering=0) as writing:
            return _copy_blocks(reading.fileno(), writing.fileno()) or is_new


def _copy_blocks(source: int, target: int) -> bool:
    """Copy the blocks that differ between two open files, and return whether any did."""
    size = os.fstat(source).st_size
    changed = os.fstat(target).st_size != size
    if changed:
        os.ftruncate(target, size)
    for number in sorted(_data_blocks(source, size) | _data_blocks(target, size)):
        start = number * _BLOCK
        block = os.pread(source, _BLOCK, start)
        if block != os.pread(target, len(block), start):
            os.pwrite(target, block, start)
            changed = True
    return changed


def _data_blocks(file: int, size: int) -> set[int]:
    """The numbers of the blocks that hold data; all others are holes, which read as zeros."""
    blocks: set[int] = set()
    end = 0
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
            end = os.lseek(file, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                break
            if error.errno != errno.EINVAL:
                raise
            start, end = 0, size  # the file system does not know where its holes are
        blocks.update(range(start // _BLOCK, (end - 1) // _BLOCK + 1))
    return blocks


@contextmanager
def copy_errors(source: Path, target: Path) -> Iterator[None]:
    """Turn the operating system's errors about two folders into docrag's."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise no_space(source, target) from error
        raise StoreError(
            f"cannot copy {source} to {target}: {error.strerror}",
            "make the index readable, and let TMPDIR name a folder that can be written",
        ) from error


def no_space(source: Path, target: Path) -> StorageFull:
    """Return the error that says that the copy does not fit."""
    return StorageFull(
        f"no space left for a copy of {source} in {target.parent}",
        "free some space, or let TMPDIR name a folder on another disk",
    )
