"""What several processes share on disk: folders that one of them locks, and files that change in one step."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from docrag.errors import IndexInUse, StoreError

POLL_SECONDS = 0.1
"""How often one that waits for a lock tries again, and asks whether it should stop."""
READ_ONLY_HINT = "the index can only be searched here: to change it, copy it to a folder that can be written"

_MAX_HOLDER_BYTES = 100
_NOT_WRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def write_atomically(path: Path, content: bytes | str, *, sync: bool = False) -> None:
    """Write a file whole or not at all: a reader, or a process after a kill, sees the old content or the new.

    The content goes to `.NAME.tmp` in the same folder first. Of several that write one file at the same time,
    each waits for the one before. A killed process leaves that file behind; the next write replaces it.

    Args:
        path: The file; its folder must exist.
        content: Text is written as UTF-8.
        sync: Whether to return only when the content would survive a power cut.

    Raises:
        OSError: The file cannot be written; the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with _open_alone(temporary) as file:
        try:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def _open_alone(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing, empty, while everybody else who opens it in this way waits."""
    while True:
        file = path.open("ab")  # does not cut what another process is writing
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if _is_at(file, path):
            break
        file.close()  # whoever was before has moved the file to its place
    with file:
        try:
            file.truncate(0)
            yield file
        finally:
            with suppress(OSError):  # children that were forked meanwhile would keep the lock
                fcntl.flock(file, fcntl.LOCK_UN)


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def is_writable(path: Path) -> bool:
    """Whether this process may change a file, or make and remove files in a folder.

    False for everything on a file system that is mounted read-only, whoever asks, and for a path that does
    not exist.
    """
    return os.access(path, os.W_OK | os.X_OK if path.is_dir() else os.W_OK)


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The process that holds a lock, as people may read it."""

    pid: int | None
    """None if it has not written who it is, as on a full disk."""
    command: str = ""
    """What it runs, such as "docrag ingest"; empty if that is unknown."""
    is_this_process: bool = False

    def __str__(self) -> str:
        if self.is_this_process:
            return "this process"
        if self.pid is None:
            return "another process"
        return f"process {self.pid} ({self.command})" if self.command else f"process {self.pid}"


@dataclass(frozen=True, slots=True)
class _HeldLock:
    """What this process knows of a lock that it holds."""

    folder: Path
    thread: int


_held: dict[int, _HeldLock] = {}
"""The locks of this process, by the descriptor of the lock file."""


class FolderLock:
    """Locks a folder by a file beside it; the lock ends with the process, however that ends.

    Children that are forked while it is held do not hold it. The lock file names its holder.

    qdrant-edge locks its log too, but only after it has opened the storage: attempts that it then refused
    changed files under the process at work, whose next flush failed ("tracker journal is shorter than
    expected").

    Args:
        folder: It need not exist; its parent must.

    Raises:
        IndexInUse: The folder is locked, by this process or another one; the error names the holder.
        StoreError: The lock file cannot be created or locked.
    """

    def __init__(self, folder: Path) -> None:
        folder = folder.resolve()
        file = _open_lock_file(folder)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(file, folder)
            os.close(file)
            raise IndexInUse(f"{folder} is open already", _hint_for(holder), str(holder)) from error
        except OSError as error:
            os.close(file)
            raise _lock_error(folder, error) from error
        _held[file] = _HeldLock(folder, threading.get_ident())
        self._release = weakref.finalize(self, _unlock, file, os.getpid())
        with suppress(OSError):  # on a full disk the lock works without the name of its holder
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()} {command_name(sys.argv)}".encode()[:_MAX_HOLDER_BYTES], 0)

    @classmethod
    def wait_for(
        cls,
        folder: Path,
        *,
        should_stop: Callable[[], bool] | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> Self | None:
        """Lock a folder as soon as nobody else holds it.

        Args:
            folder: It need not exist; its parent must.
            should_stop: Asked while waiting; once it returns true, waiting ends. None waits for any time.
            on_wait: Called with the name of the holder when waiting begins, and for each holder after that.

        Returns:
            The lock, or None if waiting was ended by `should_stop`.

        Raises:
            IndexInUse: This thread holds the lock itself, so that it would wait for ever.
            StoreError: The lock file cannot be created or locked.
        """
        named = ""
        while True:
            try:
                return cls(folder)
            except IndexInUse as error:
                if _is_held_by_this_thread(folder):
                    raise
                if on_wait and error.holder != named:
                    named = error.holder
                    on_wait(named)
            if should_stop and should_stop():
                return None
            time.sleep(POLL_SECONDS)

    def release(self) -> None:
        """Unlock the folder; releasing twice is harmless, and so is releasing in a forked child."""
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lock_holder(folder: Path) -> LockHolder | None:
    """Who holds the lock of a folder; None if nobody does."""
    folder = folder.resolve()
    try:
        file = os.open(_lock_file(folder), os.O_RDONLY)
    except OSError:  # nobody has ever locked it, or nobody else may know
        return None
    try:
        if not os.fstat(file).st_size:  # released: the file is emptied then
            return None
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(file, folder)
    except OSError:
        return None
    else:
        return None  # the holder was killed
    finally:
        os.close(file)


def command_name(arguments: Sequence[str]) -> str:
    """What a process runs, in a few words: the program, and of docrag the command, but never an option.

    Args:
        arguments: As in `sys.argv`.

    >>> command_name(["/usr/bin/docrag", "-v", "ingest", "reports", "--password", "secret"])
    'docrag ingest'
    >>> command_name(["/lib/docrag/__main__.py", "serve"]), command_name(["/home/ada/notes.py", "--key", "k"])
    ('docrag serve', 'python notes.py')
    >>> command_name(["/lib/ipykernel_launcher.py", "-f", "kernel.json"]), command_name(["-c"])
    ('a Jupyter notebook', 'python')
    """
    program = Path(arguments[0] if arguments else "")
    name = program.parent.name if program.name == "__main__.py" else program.name
    name = re.sub(r"[^\w.+-]", "_", name)
    if name in ("", "-c", "-m"):
        return "python"
    if name == "ipykernel_launcher.py":
        return "a Jupyter notebook"
    if name.endswith(".py"):
        return f"python {name}"
    if name == "docrag":
        command = next((argument for argument in arguments[1:] if not argument.startswith("-")), "")
        return f"docrag {command}" if re.fullmatch(r"[a-z]+", command) else name
    return name


def _lock_file(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


def _open_lock_file(folder: Path) -> int:
    try:
        return os.open(_lock_file(folder), os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _lock_error(folder, error) from error


def _lock_error(folder: Path, error: OSError) -> StoreError:
    hint = READ_ONLY_HINT if error.errno in _NOT_WRITABLE else ""
    return StoreError(f"cannot lock {folder}: {error.strerror}", hint)


def _holder(file: int, folder: Path) -> LockHolder:
    """Who holds a lock that is held. Older versions of docrag wrote only their process id."""
    text = os.pread(file, _MAX_HOLDER_BYTES, 0).decode(errors="replace")
    pid, _, command = text.partition(" ")
    # Process ids do not tell: two containers that share a disk may have the same ones.
    is_own = any(lock.folder == folder for lock in list(_held.values()))
    return LockHolder(int(pid) if pid.isdecimal() else None, command, is_own)


def _hint_for(holder: LockHolder) -> str:
    if holder.is_this_process:
        return "this process has it open: use that, or close it first"
    return f"end {holder}, which has it open"


def _is_held_by_this_thread(folder: Path) -> bool:
    here = _HeldLock(folder.resolve(), threading.get_ident())
    return here in list(_held.values())


def _unlock(file: int, pid: int) -> None:
    """Unlock by name: to close the file would not do if a child has inherited it."""
    if pid != os.getpid():  # in a child, which closed its copy at the fork
        return
    del _held[file]
    with suppress(OSError):
        os.ftruncate(file, 0)
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)


def _leave_locks_to_parent() -> None:
    """Close the lock files in a child, so that it does not keep the locks if its parent is killed."""
    for file in _held:
        os.close(file)
    _held.clear()


os.register_at_fork(after_in_child=_leave_locks_to_parent)
