"""The process that answers: it takes connections on a Unix socket, each in a thread of its own."""

from __future__ import annotations

import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from docrag.common.rpc.codec import Codec
from docrag.common.rpc.failures import describe
from docrag.common.rpc.frames import ConnectionLost, receive_message, send_message
from docrag.common.rpc.peers import Peer, is_own, peer_of

logger = logging.getLogger(__name__)

BACKLOG = 128

Handler = Callable[..., Any]


@dataclass(eq=False)
class Session:
    """One connection, and what its process has said about itself."""

    connection: socket.socket
    peer: Peer
    program: str = ""
    """What the process runs, such as "docrag ingest"; empty before it has introduced itself."""
    since: float = field(default_factory=time.time)
    state: dict[str, Any] = field(default_factory=dict)
    """What handlers keep for this connection."""


class Server:
    """Answers calls until `stop`.

    A handler gets the session and the arguments of the call, and its result is sent back. An error of docrag
    is sent as one; any other error is logged, and the caller gets a StoreError.

    Args:
        listening: A listening Unix socket.
        codec: Turns values into messages; the other side must have the same one.
        handlers: The methods that can be called, by name.
    """

    def __init__(self, listening: socket.socket, codec: Codec, handlers: Mapping[str, Handler]) -> None:
        self._listening = listening
        self._codec = codec
        self._handlers = handlers
        self._lock = threading.Lock()
        self._sessions: set[Session] = set()
        self._running = 0
        self._changed = threading.Condition(self._lock)
        self.idle_since = time.monotonic()
        """When the last session ended."""

    def serve(self) -> None:
        """Take connections until the listening socket is closed."""
        for number in itertools.count(1):
            try:
                connection, _ = self._listening.accept()
            except OSError:  # closed by `stop`
                return
            peer = peer_of(connection)
            if not is_own(peer):
                logger.warning("refused process %d of user %d", peer.pid, peer.uid)
                connection.close()
                continue
            session = Session(connection, peer)
            with self._lock:
                self._sessions.add(session)
            name = f"session-{number}"
            threading.Thread(target=self._run_session, args=(session,), name=name, daemon=True).start()

    def sessions(self) -> list[Session]:
        """The open connections."""
        with self._lock:
            return list(self._sessions)

    def idle_seconds(self) -> float:
        """For how long there has been no connection; 0 while there is one."""
        with self._lock:
            return 0.0 if self._sessions else time.monotonic() - self.idle_since

    def stop(self, patience: float) -> None:
        """Take no more connections, and wait until the running calls have ended.

        Args:
            patience: Seconds after which calls are no longer waited for.
        """
        self._listening.close()
        with self._changed:
            self._changed.wait_for(lambda: not self._running, timeout=patience)

    def _run_session(self, session: Session) -> None:
        try:
            while True:
                self._answer(session, *receive_message(session.connection))
        except ConnectionLost:
            logger.debug("process %d has closed a connection", session.peer.pid)
        finally:
            session.connection.close()
            with self._lock:
                self._sessions.discard(session)
                self.idle_since = time.monotonic()

    def _answer(self, session: Session, header: bytearray, buffers: list[memoryview]) -> None:
        with self._lock:
            self._running += 1
        try:
            response = self._codec.encode(self._call(session, header, buffers))
            send_message(session.connection, *response)
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _call(self, session: Session, header: bytearray, buffers: list[memoryview]) -> dict[str, Any]:
        method = "unknown"
        try:
            method, arguments, options = self._codec.decode(header, buffers)
            if method not in self._handlers:
                raise ValueError(f"there is no method {method}")
            return {"result": self._handlers[method](session, *arguments, **options)}
        except Exception as error:  # noqa: BLE001 (whatever it is, the caller must hear of it)
            return {"error": describe(error, method)}
