"""The life of the engine's process: it listens, answers, watches whether it is still needed, and ends."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from docrag import __version__
from docrag.common.rpc.peers import make_private, socket_paths
from docrag.common.rpc.server import Server, Session
from docrag.engine.preload import preload_default_models
from docrag.store.local.process import COMMAND, PROTOCOL, READY

logger = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
"""How often the process looks whether its directory still exists and whether anybody uses it."""
FIRST_USER_SECONDS = 60.0
"""How long the process waits for the one that started it."""
PATIENCE = 30.0
"""Seconds for which the end of the process waits for running calls."""
_MOST_FILES = 2**16
"""Descriptors that are asked for: each thread of each user has a connection, and the shard has its files."""


def run(folder: str, pipe: int, *, for_search: bool) -> None:
    """Hold a directory until nobody uses it any more.

    Args:
        folder: The directory of the index.
        pipe: Descriptor on which the process tells that it listens, or why it does not.
        for_search: Whether it is started for a search.
    """
    sys.argv = [*COMMAND.split(), folder]  # what errors in other processes say about this one
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(process)d %(levelname)s %(message)s")
    logging.getLogger("docrag").setLevel(logging.INFO)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _permit_many_files()
    with os.fdopen(pipe, "wb") as teller:
        try:
            lifetime = Lifetime(Path(folder))
        except OSError as error:
            teller.write(f"cannot listen: {error}".encode())
            raise
        teller.write(READY)
    if for_search:
        preload_default_models(lifetime.folder)
    lifetime.run()


class Lifetime:
    """Everything about the process that is not a call to the store or the encoders.

    Raises:
        OSError: There is no place for a socket.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started = time.time()
        # While the directory is open, no other one gets its inode.
        self._folder_descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._identity = _identity(folder)
        self._idle_limit = FIRST_USER_SECONDS
        self._orders: queue.SimpleQueue[str] = queue.SimpleQueue()
        """Reasons to end. Unlike an Event, this may be filled by a signal handler."""
        self._listening, self._socket_path = _listen(folder)
        self._socket_identity = _identity(self._socket_path)
        signal.signal(signal.SIGTERM, lambda *_: self._orders.put("a signal"))

    def run(self) -> None:
        """Answer calls until the process is told to end, or is no longer needed."""
        from docrag.engine.services import Services  # takes most of the time, and is not needed to listen

        logger.info("docrag %s holds %s", __version__, self.folder)
        services = Services(self.folder)
        handlers: dict[str, Callable[..., Any]] = {
            "hello": self.hello,
            "end": self.end,
            **services.handlers(),
        }
        server = Server(self._listening, services.codec, handlers)
        self._server = server
        threading.Thread(target=server.serve, name="accept", daemon=True).start()
        while not self._is_told_to_end():
            if self._is_gone() or not self._owns_socket():
                _end_at_once()
            if server.idle_seconds() > self._idle_limit:
                logger.info("nobody has used this process for %.0f s", self._idle_limit)
                break
        self._end(server, services)

    def hello(
        self,
        session: Session,
        *,
        protocol: int,
        version: str,
        program: str,
        folder: list[int],
        idle_seconds: float,
    ) -> dict[str, Any]:
        """Answer a greeting: who this process is, and whether it takes the other one."""
        if self._is_gone():  # the caller means the directory that is there now
            _end_at_once()
        users = {
            other.peer.pid: other.program
            for other in self._server.sessions()
            if other.program and other.peer.pid != session.peer.pid
        }
        accepted = (protocol, version, folder) == (PROTOCOL, __version__, list(self._identity))
        if accepted:
            session.program = program
            self._idle_limit = idle_seconds
        return {
            "accepted": accepted,
            "pid": os.getpid(),
            "version": __version__,
            "started": self.started,
            "users": [{"pid": pid, "program": name} for pid, name in users.items()],
        }

    def end(self, session: Session) -> None:
        """End the process, for users in other containers, who cannot send it a signal."""
        self._orders.put(f"process {session.peer.pid}")

    def _is_told_to_end(self) -> bool:
        """Wait a moment for the order to end."""
        try:
            reason = self._orders.get(timeout=WATCH_SECONDS)
        except queue.Empty:
            return False
        logger.info("told to end by %s", reason)
        return True

    def _is_gone(self) -> bool:
        """Whether the directory was removed or replaced."""
        try:
            return _identity(self.folder) != self._identity
        except OSError:
            return True

    def _owns_socket(self) -> bool:
        """Whether the socket is there and not another process's."""
        try:
            return _identity(self._socket_path) == self._socket_identity
        except OSError:
            return False

    def _end(self, server: Server, services: Any) -> None:
        """Refuse new connections, finish the running calls, and close the shard."""
        with contextlib.suppress(OSError):
            if self._owns_socket():
                self._socket_path.unlink()
        server.stop(PATIENCE)
        try:
            services.close()
        except Exception:
            logger.exception("the shard could not be closed in good order")
            os._exit(1)
        logger.info("ended")
        os._exit(0)  # threads may be waiting for messages


def _end_at_once() -> NoReturn:
    logger.info("the directory is gone, or belongs to another process")
    os._exit(0)  # there is nothing left that could be flushed


def _permit_many_files() -> None:
    """Raise the limit of open files as far as this user may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    with contextlib.suppress(OSError, ValueError):  # macOS permits fewer than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _identity(path: Path) -> tuple[int, int]:
    """What tells a file from another one at the same path."""
    info = path.stat()
    return info.st_dev, info.st_ino


def _listen(folder: Path) -> tuple[socket.socket, Path]:
    """A listening socket in the first place that takes one, which only this user can use."""
    failure: OSError = FileNotFoundError(str(folder))
    for path in socket_paths(folder):
        try:
            if path.parent != folder.resolve():
                make_private(path.parent)
            # Whoever started this process has tried the socket: if there is one, nobody listens to it.
            path.unlink(missing_ok=True)
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            previous = os.umask(0o177)
            try:
                listening.bind(str(path))
            finally:
                os.umask(previous)
            listening.listen(128)
        except OSError as error:
            logger.info("no socket at %s: %s", path, error)
            failure = error
            continue
        return listening, path
    raise failure
