"""What several processes share on disk: folders that one of them locks, and files that change in one step."""

from __future__ import annotations

import fcntl
import logging
import os
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from docrag.errors import IndexInUse, StoreError

logger = logging.getLogger(__name__)


def write_atomically(path: Path, content: bytes | str, *, sync: bool = False) -> None:
    """Write a file whole or not at all: a reader, or a process after a kill, sees the old content or the new.

    The content goes to `.NAME.tmp` in the same folder first, so two processes must not write one file at a
    time. A killed process leaves that file behind; the next write replaces it.

    Args:
        path: The file; its folder must exist.
        content: Text is written as UTF-8.
        sync: Whether to return only when the content would survive a power cut.

    Raises:
        OSError: The file cannot be written; the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def is_writable(path: Path) -> bool:
    """Whether this process may change a file, or make and remove files in a folder.

    False for everything on a file system that is mounted read-only, whoever asks, and for a path that does not
    exist.
    """
    return os.access(path, os.W_OK | os.X_OK if path.is_dir() else os.W_OK)


class FolderLock:
    """Locks a folder by a file beside it; the lock ends with the process, however that ends.

    qdrant-edge locks its log too, but only after it has opened the storage: attempts that it then refused
    changed files under the process at work, whose next flush failed ("tracker journal is shorter than
    expected").

    Args:
        folder: It need not exist; its parent must.

    Raises:
        IndexInUse: The folder is locked, by this process or another one.
        StoreError: The lock file cannot be created or locked.
    """

    def __init__(self, folder: Path) -> None:
        folder = folder.resolve()
        try:
            file = os.open(folder.with_name(f".{folder.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
            self._close = weakref.finalize(self, os.close, file)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(OSError):  # on a full disk the lock works without the process id
                os.ftruncate(file, 0)
                os.write(file, str(os.getpid()).encode())  # for the error that other processes raise
        except BlockingIOError as error:
            pid = os.pread(file, 20, 0).decode(errors="replace")
            self.release()
            logger.debug("%s is locked by process %s", folder, pid or "unknown")
            raise IndexInUse(f"{folder} is open already", _hint_for(pid)) from error
        except OSError as error:
            raise StoreError(f"cannot lock {folder}: {error.strerror}") from error

    def release(self) -> None:
        """Unlock the folder; releasing twice is harmless."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _hint_for(pid: str) -> str:
    if pid == str(os.getpid()):
        return "this process has it open: use that, or close it first"
    holder = f"process {pid}" if pid.isdigit() else "the other process"
    return f"end {holder}, which has it open; if it is docrag serve, search and upload there"
