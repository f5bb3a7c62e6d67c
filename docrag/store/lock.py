"""Locks: one process at a time in a folder, and in a process many readers at a time or one writer."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from docrag.errors import IndexInUse, StoreError

logger = logging.getLogger(__name__)


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


class ReadWriteLock:
    """Lets many threads in at a time, or one alone, which goes before those that come after it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._shared_count = 0
        self._exclusive = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock together with other threads."""
        with self._changed:
            self._changed.wait_for(lambda: not self._exclusive)
            self._shared_count += 1
        try:
            yield
        finally:
            with self._changed:
                self._shared_count -= 1
                self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock alone: wait until all others have left, and let none in."""
        with self._changed:
            self._changed.wait_for(lambda: not self._exclusive)
            self._exclusive = True
            try:
                self._changed.wait_for(lambda: not self._shared_count)
                yield
            finally:
                self._exclusive = False
                self._changed.notify_all()
