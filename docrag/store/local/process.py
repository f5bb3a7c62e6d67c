"""The engine's own process of a directory: found, started, asked who it is, and ended.

One process holds the shard of a directory, because qdrant-edge lets in no other. All handles, also those of
the process that started it, talk to it over a Unix socket in the directory. It ends by itself some time after
its last user has left, and at once when its directory is gone.

This module is imported by every `docrag search`, so it loads neither numpy nor the engine.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import signal
import site
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docrag import __version__
from docrag.common.files import command_name
from docrag.common.rpc.client import RpcConnection
from docrag.common.rpc.frames import ConnectionLost
from docrag.common.rpc.peers import Peer, is_own, peer_of, socket_paths
from docrag.errors import DocragError, IndexInUse, IndexNotFound, StoreError

if TYPE_CHECKING:
    from docrag.common.rpc.codec import Codec

logger = logging.getLogger(__name__)

PROTOCOL = 2
"""Increased whenever a process of another version could misunderstand this one."""
MODULE = "docrag.engine"
COMMAND = "docrag engine"
"""How other processes call this one, for example in the file of a lock that it holds."""
LOG = ".engine.log"
"""What the engine's process logs, in its directory."""
START_LOCK = ".engine.lock"
"""Locked while the process is started, so that only one is."""
READY = b"ready"
"""What the process writes into its pipe once it listens."""

START_SECONDS = 60.0
"""How long a process may take to listen; it takes a tenth of a second on an idle machine."""
STOP_SECONDS = 60.0
"""How long a process may take to end: it finishes the running calls and flushes."""
GREETING_SECONDS = 60.0
"""How long a process may take to answer a greeting, after it has loaded its modules from a slow disk."""
_MOST_LOG_BYTES = 2**18
_POLL_SECONDS = 0.02

IN_PROCESS_HINT = "see its log, or set DOCRAG_IN_PROCESS=1 where no other process can be started"


@dataclass(frozen=True, slots=True)
class EngineUser:
    """A process that uses the engine's process."""

    pid: int
    program: str
    """What it runs, such as "docrag serve"."""


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """The engine's process of a directory, as it describes itself."""

    pid: int
    version: str
    """The version of docrag that it runs."""
    started: float
    """When it was started, in seconds since 1970."""
    users: tuple[EngineUser, ...]
    """The processes that use it, without the one that asks."""


class EngineProcess:
    """The engine's process of one directory, as those see it that use it.

    Args:
        folder: The directory of the index.
        idle_seconds: After how long without users the process ends.
        codec: Turns values into messages.
        for_search: Whether a process that has to be started is started for a search, so that it loads the
            models at once.
    """

    def __init__(self, folder: Path, idle_seconds: float, codec: Codec, *, for_search: bool = False) -> None:
        self.folder = folder
        self._idle_seconds = idle_seconds
        self._codec = codec
        self._for_search = for_search

    def connect(self) -> RpcConnection:
        """A connection to the process, which is started if there is none.

        Raises:
            IndexInUse: The process is one of another user or another version.
            StoreError: The process cannot be started, or does not answer.
            ConnectionLost: The process ended meanwhile.
        """
        while True:
            connection = self._find() or self._start()
            try:
                welcome = self._greet(connection)
            except BaseException:
                connection.close()
                raise
            if welcome["accepted"]:
                return connection
            connection.close()
            if welcome["users"]:
                raise _other_version(self.folder, welcome)
            logger.info("ending process %d, which runs docrag %s", welcome["pid"], welcome["version"])
            self.stop()

    def status(self) -> EngineStatus | None:
        """What the running process says about itself; None if none is running."""
        connection = self._find()
        if connection is None:
            return None
        try:
            welcome = self._greet(connection)
        except ConnectionLost:
            return None
        finally:
            connection.close()
        users = tuple(EngineUser(**user) for user in welcome["users"])
        return EngineStatus(welcome["pid"], welcome["version"], welcome["started"], users)

    def stop(self) -> int | None:
        """End the process in good order: it finishes the running calls, flushes, and is gone.

        Returns:
            Its process id; None if none was running.

        Raises:
            IndexInUse: It belongs to another user.
            StoreError: It does not end.
        """
        connection = self._find(stop_others=os.geteuid() == 0)
        if connection is None:
            return None
        with connection.socket:
            pid = peer_of(connection.socket).pid
            logger.info("ending the engine's process %d of %s", pid, self.folder)
            _end(connection, pid)
            try:
                # It closes this connection when it ends, however that happens.
                connection.socket.settimeout(STOP_SECONDS)
                while connection.socket.recv(4096):
                    pass
            except TimeoutError:
                raise StoreError(
                    f"process {pid}, which holds {self.folder}, does not end", f"kill -9 {pid} is safe"
                ) from None
            except OSError:  # reset: it is gone as well
                pass
        return pid

    def broken(self, reason: str) -> DocragError:
        """The error for calls that the process did not answer, though it was started again and again."""
        message = f"the engine's process of {self.folder} ends again and again: {reason}"
        return StoreError(message, IN_PROCESS_HINT)

    def _find(self, *, stop_others: bool = False) -> RpcConnection | None:
        """A connection to the running process, not yet greeted; None if none is running.

        Args:
            stop_others: Whether the process is only to be stopped, which the administrator may do to those
                of others.

        Raises:
            IndexInUse: It belongs to another user.
        """
        for path in socket_paths(self.folder):
            opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                opened.connect(str(path))
                peer = peer_of(opened)
                if is_own(peer) or stop_others:
                    return RpcConnection(opened, self._codec)
                opened.close()
                raise _other_user(self.folder, peer)
            except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError):
                pass
            except OSError as error:
                opened.close()
                raise StoreError(
                    f"cannot reach the process that holds {self.folder}: {error.strerror}",
                    f"is {path} a socket of this user? Otherwise: docrag stop, as the user who started it",
                ) from error
            opened.close()
        return None

    def _greet(self, connection: RpcConnection) -> Mapping[str, Any]:
        """Introduce this process, and learn whether the other one takes it."""
        try:
            info = self.folder.stat()
        except FileNotFoundError as error:
            raise IndexNotFound(f"{self.folder} is gone", "make it again: docrag ingest FOLDER") from error
        connection.socket.settimeout(GREETING_SECONDS)
        try:
            welcome: Mapping[str, Any] = connection.call(
                "hello",
                protocol=PROTOCOL,
                version=__version__,
                program=command_name(sys.argv),
                folder=[info.st_dev, info.st_ino],
                idle_seconds=self._idle_seconds,
            )
        except ConnectionLost as error:
            if isinstance(error.__cause__, TimeoutError):
                pid = peer_of(connection.socket).pid
                raise StoreError(
                    f"process {pid}, which holds {self.folder}, does not answer", f"kill -9 {pid} is safe"
                ) from error
            raise
        connection.socket.settimeout(None)
        return welcome

    def _start(self) -> RpcConnection:
        """Start the process, unless another one has started it meanwhile."""
        with self._start_lock():
            connection = self._find()
            if connection is not None:
                return connection
            logger.info("starting the engine's process of %s", self.folder)
            started = time.perf_counter()
            _launch(self.folder, ["search"] if self._for_search else [])
            connection = self._find()
            if connection is None:
                raise ConnectionLost("the process ended as soon as it had started")
            logger.info("it listens after %.2f s", time.perf_counter() - started)
            return connection

    @contextmanager
    def _start_lock(self) -> Iterator[None]:
        """Wait until no other process is starting the engine's process."""
        try:
            file = os.open(self.folder / START_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(
                f"cannot write {self.folder}: {error.strerror}", "check its permissions, and the disk"
            ) from error
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _lock(file):
                if time.monotonic() > deadline:
                    raise StoreError(
                        f"another process has been starting the engine of {self.folder} for a minute",
                        "try again, or end that process",
                    )
                time.sleep(_POLL_SECONDS)
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # a child that was forked meanwhile has the descriptor, too
            os.close(file)


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _launch(folder: Path, options: Sequence[str]) -> None:
    """Start the process and wait until it listens.

    Args:
        folder: The directory of the index.
        options: More arguments of the process (docrag/engine/__main__.py).

    Raises:
        StoreError: It cannot be started, or it ended before it listened; the message says why.
    """
    reading, writing = _make_pipe()
    try:
        command = [_interpreter(), "-P", "-m", MODULE, str(folder.resolve()), str(writing), *options]
        with _log_file(folder) as log:
            # It is not a child that somebody would have to wait for: it starts another one, and ends.
            subprocess.run(
                command,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[writing],
                start_new_session=True,
                cwd="/",
                env=_environment(),
                timeout=START_SECONDS,
            )
        os.close(writing)
        writing = -1
        answer = _read_answer(reading)
    except (OSError, subprocess.SubprocessError) as error:
        raise StoreError(f"the engine's process cannot be started: {error}", IN_PROCESS_HINT) from error
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    if answer != READY:
        reason = answer.decode(errors="replace") or "it gave no reason"
        raise StoreError(f"the engine's process of {folder} ended at once: {reason}", IN_PROCESS_HINT)


def _log_file(folder: Path) -> Any:
    """The log of the process, open for appending; a long one is begun anew."""
    path = folder / LOG
    too_long = path.exists() and path.stat().st_size > _MOST_LOG_BYTES
    return path.open("wb" if too_long else "ab")


def _environment() -> dict[str, str]:
    """The environment of the process: it must find docrag where this process has found it."""
    root = str(Path(__file__).resolve().parents[3])
    environment = dict(os.environ)
    if root not in site.getsitepackages() and root != site.getusersitepackages():
        inherited = [
            str(Path(entry).resolve()) for entry in environment.get("PYTHONPATH", "").split(":") if entry
        ]
        environment["PYTHONPATH"] = ":".join(dict.fromkeys([*inherited, root]))
    return environment


def _interpreter() -> str:
    """The Python that runs the process.

    Raises:
        FileNotFoundError: This process is a program that Python is a part of, and knows no interpreter.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        raise FileNotFoundError("this program contains Python, and no interpreter is known")
    return sys.executable


def _make_pipe() -> tuple[int, int]:
    """A pipe whose descriptors are none of the standard ones, even if this process has closed those."""
    pipe = os.pipe()
    higher = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3) for end in pipe]
    for end in pipe:
        os.close(end)
    return higher[0], higher[1]


def _read_answer(pipe: int) -> bytes:
    """What the process writes into its pipe until it listens, or else until it closes the pipe.

    The end of the pipe is not waited for: a child that was forked meanwhile may keep it open.

    Raises:
        TimeoutError: It writes nothing.
    """
    content = b""
    deadline = time.monotonic() + START_SECONDS
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    while content != READY:
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError(f"it does not listen after {START_SECONDS:.0f} s")
        part = os.read(pipe, 4096)
        if not part:
            break
        content += part
    return content


def _end(connection: RpcConnection, pid: int) -> None:
    """Tell the process to end."""
    if pid > 0:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    else:  # it runs in another container, so that it has no id here; a signal to 0 would end this process
        with suppress(ConnectionLost):
            connection.call("end")


def _other_user(folder: Path, peer: Peer) -> IndexInUse:
    return IndexInUse(
        f"{folder} is held by process {peer.pid} of user {peer.uid}",
        "run this as that user; or end the process first, as that user or as root: docrag stop",
    )


def _other_version(folder: Path, welcome: Mapping[str, Any]) -> IndexInUse:
    users = ", ".join(f"{user['program']} ({user['pid']})" for user in welcome["users"])
    return IndexInUse(
        f"{folder} is held by docrag {welcome['version']}, used by {users}",
        "end these, or update them: one index is used by one version at a time",
    )
