"""The processes that ask: connections that are made when they are needed, by as many threads as call."""

from __future__ import annotations

import itertools
import logging
import socket
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from docrag.common.forks import ForkAware
from docrag.common.rpc.codec import Codec
from docrag.common.rpc.failures import restored
from docrag.common.rpc.frames import ConnectionLost, receive_message, send_message
from docrag.errors import DocragError

logger = logging.getLogger(__name__)

ATTEMPTS = 6
PATIENCE = 60.0
"""A call is repeated at least so often, and for so many seconds, before the other process counts as broken.
On a busy machine the start of that process alone takes seconds."""
MAX_PAUSE = 1.6
"""The longest pause between two repetitions, in seconds."""


class RpcConnection:
    """One connection, for one call at a time."""

    def __init__(self, opened: socket.socket, codec: Codec) -> None:
        self.socket = opened
        self._codec = codec
        weakref.finalize(self, opened.close)  # handles are often left open, as by a cell of a notebook

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the other process.

        Raises:
            ConnectionLost: The other process ended before it answered.
            DocragError: The method raised it.
        """
        return result_of(self.exchange(method, arguments, options))

    def exchange(self, method: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """Send a call and wait for the answer, which holds a result or the description of an error."""
        send_message(self.socket, *self._codec.encode([method, list(arguments), dict(options)]))
        return self._codec.decode(*receive_message(self.socket))

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()


def result_of(answer: Mapping[str, Any]) -> Any:
    """The result in an answer.

    Raises:
        DocragError: The method raised it.
    """
    if "error" in answer:
        raise restored(answer["error"])
    return answer["result"]


class Client(ForkAware):
    """Calls the methods of another process, from any thread, and from children after a fork.

    A call whose connection is lost is made again on a new connection: all methods must be such that this
    does no harm.

    Args:
        connect: Makes a connection that is ready for calls; it may start the other process.
        broken: Makes the error for a call that was in vain every time, given the last reason.
    """

    def __init__(self, connect: Callable[[], RpcConnection], broken: Callable[[str], DocragError]) -> None:
        self._connect = connect
        self._broken = broken
        self._lock = threading.Lock()
        self._closed = False
        self._idle: list[RpcConnection] = []
        self._open: set[RpcConnection] = set()
        super().__init__()

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the other process.

        Raises:
            DocragError: The method raised it, or the other process cannot be reached.
        """
        pause = 0.0  # the first repetition is made at once: the process may have ended long ago
        deadline = time.monotonic() + PATIENCE
        for attempt in itertools.count(1):
            try:
                answer = self._exchange(method, arguments, options)
            except ConnectionLost as error:
                if attempt >= ATTEMPTS and time.monotonic() > deadline:
                    raise self._broken(str(error)) from error
                logger.info("%s is repeated on a new connection: %s", method, error)
                self._close_idle()
                time.sleep(pause)
                pause = min(max(0.1, 2 * pause), MAX_PAUSE)
            else:
                return result_of(answer)
        raise AssertionError("the loop ends by returning or raising")

    def close(self) -> None:
        """Close all connections; one that a thread is using is closed after its call.

        A later call makes a connection of its own.
        """
        with self._lock:
            self._closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
            self._open.difference_update(idle)
        for connection in idle:
            connection.close()

    def _exchange(self, method: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        connection = self._take()
        try:
            answer = connection.exchange(method, arguments, options)
        except BaseException:  # also Ctrl-C: the rest of the answer may be on its way
            with self._lock:
                self._open.discard(connection)
            connection.close()
            raise
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return answer
            self._open.discard(connection)
        connection.close()
        return answer

    def _take(self) -> RpcConnection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        connection = self._connect()
        with self._lock:
            self._open.add(connection)
        return connection

    def after_fork_in_child(self) -> None:
        """Leave all connections to the parent of this process; closing them here does not end them there."""
        self._lock = threading.Lock()  # another thread of the parent may have held the old one
        inherited, self._open, self._idle = self._open, set(), []
        for connection in inherited:
            connection.close()
