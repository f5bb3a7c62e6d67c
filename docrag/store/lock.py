"""One process at a time, and in it many calls at a time or one alone."""

from __future__ import annotations

import fcntl
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from docrag.errors import IndexInUse, StoreError


class FolderLock:
    """Keeps a folder for this object, by a file beside it; ends with the process, however that ends.

    qdrant-edge locks its log too, but only after it has opened the storage: attempts that it refused changed
    files under the process at work, whose next flush failed ("tracker journal is shorter than expected").

    Raises:
        IndexInUse: Someone holds the folder.
        StoreError: The file cannot be made or locked.
    """

    def __init__(self, folder: Path) -> None:
        folder = folder.resolve()
        try:
            file = os.open(folder.with_name(f".{folder.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
            self._close = weakref.finalize(self, os.close, file)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(OSError):  # a full disk: the lock holds without it
                os.ftruncate(file, 0)
                os.write(file, str(os.getpid()).encode())  # for the error of who comes next
        except BlockingIOError as error:
            hint = _who_holds(os.pread(file, 20, 0))
            self.release()
            raise IndexInUse(f"{folder} is open already", hint) from error
        except OSError as error:
            raise StoreError(f"cannot lock {folder}: {error.strerror}") from error

    def release(self) -> None:
        """Let others have the folder; releasing twice does nothing."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _who_holds(pid: bytes) -> str:
    if pid == str(os.getpid()).encode():
        return "this process has it open: use that, or close it first"
    holder = f"process {pid.decode()}" if pid.isdigit() else "the other process"
    return f"end {holder}, which has it open; if it is docrag serve, search and upload there"


class ReadWriteLock:
    """Lets many calls go on at a time, or one alone; who waits to be alone goes before new calls."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._calls = 0
        self._exclusive = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Others may call meanwhile; nobody is alone."""
        with self._turn:
            self._turn.wait_for(lambda: not self._exclusive)
            self._calls += 1
        try:
            yield
        finally:
            with self._turn:
                self._calls -= 1
                self._turn.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other call is under way, and none begins."""
        with self._turn:
            self._turn.wait_for(lambda: not self._exclusive)
            self._exclusive = True
            try:
                self._turn.wait_for(lambda: not self._calls)
                yield
            finally:
                self._exclusive = False
                self._turn.notify_all()
