"""The process that answers: it takes connections on a Unix socket, each in a thread of its own."""

from __future__ import annotations

import contextlib
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
from docrag.common.rpc.frames import Buffer, ConnectionLost, receive_message, send_message
from docrag.common.rpc.peers import Peer, is_own, peer_of

logger = logging.getLogger(__name__)

ACCEPT_PAUSE = 0.1
"""Seconds after which accepting is tried again when the system has no descriptors left, for example."""

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
        self._stopping = False
        self._changed = threading.Condition(self._lock)
        self.idle_since = time.monotonic()
        """When the last session ended."""

    def serve(self) -> None:
        """Take connections until `stop`, whatever goes wrong with one of them."""
        failed = False
        for number in itertools.count(1):
            try:
                connection, _ = self._listening.accept()
            except OSError as error:
                if self._stopping:
                    return
                if not failed:
                    logger.warning("no connection can be taken at present: %s", error)
                failed = True
                time.sleep(ACCEPT_PAUSE)
                continue
            failed = False
            try:
                self._begin_session(connection, number)
            except (OSError, RuntimeError) as error:  # the latter if the system has no threads left
                logger.warning("a connection is not taken: %s", error)
                connection.close()

    def sessions(self) -> list[Session]:
        """The open connections."""
        with self._lock:
            return list(self._sessions)

    def idle_seconds(self) -> float:
        """For how long there has been no connection; 0 while there is one."""
        with self._lock:
            return 0.0 if self._sessions else time.monotonic() - self.idle_since

    def stop(self, patience: float) -> None:
        """Take no more connections and calls, and wait until the running calls have ended.

        A call that comes later is not begun: its connection is closed, so that the caller can make it again
        elsewhere.

        Args:
            patience: Seconds after which calls are no longer waited for.
        """
        with self._changed:
            self._stopping = True
        with contextlib.suppress(OSError):  # not every system lets a listening socket be shut down
            self._listening.shutdown(socket.SHUT_RDWR)  # closing it would not end a waiting `accept`
        self._listening.close()
        with self._changed:
            self._changed.wait_for(lambda: not self._running, timeout=patience)

    def _begin_session(self, connection: socket.socket, number: int) -> None:
        """Answer the calls of a connection in a thread of its own, if it comes from this user."""
        peer = peer_of(connection)
        if not is_own(peer):
            logger.warning("refused process %d of user %d", peer.pid, peer.uid)
            connection.close()
            return
        session = Session(connection, peer)
        with self._lock:
            self._sessions.add(session)
        thread = threading.Thread(
            target=self._run_session, args=(session,), name=f"session-{number}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            self._forget(session)
            raise

    def _run_session(self, session: Session) -> None:
        try:
            while True:
                self._answer(session, *receive_message(session.connection))
        except ConnectionLost as error:
            logger.debug("the connection to process %d ends: %s", session.peer.pid, error)
        except MemoryError:
            logger.exception("process %d sends more than the memory holds", session.peer.pid)
        finally:
            session.connection.close()
            self._forget(session)

    def _forget(self, session: Session) -> None:
        with self._lock:
            self._sessions.discard(session)
            self.idle_since = time.monotonic()

    def _answer(self, session: Session, header: bytearray, buffers: list[memoryview]) -> None:
        with self._lock:
            if self._stopping:
                raise ConnectionLost("this process is ending")
            self._running += 1
        try:
            send_message(session.connection, *self._call(session, header, buffers))
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _call(
        self, session: Session, header: bytearray, buffers: list[memoryview]
    ) -> tuple[bytes, list[Buffer]]:
        """Call a method; returns the message that answers it."""
        method = "unknown"
        try:
            method, arguments, options = self._codec.decode(header, buffers)
            if method not in self._handlers:
                raise ValueError(f"there is no method {method}")
            result = self._handlers[method](session, *arguments, **options)
            return self._codec.encode({"result": result})
        # Whatever it is, the caller must hear of it: also a panic of the engine, which is no Exception.
        except BaseException as error:  # noqa: BLE001
            return self._codec.encode({"error": describe(error, method)})
