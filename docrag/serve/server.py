"""Running an application on a socket until a signal arrives."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from docrag.errors import SettingsError, StoreError

logger = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 5
"""Time that open requests have to end once the server is told to stop."""
HEAD_TIMEOUT = 15.0
"""Seconds within which the head of a request must arrive."""
MAX_CONNECTIONS = 512
HINTS = {
    errno.EADDRINUSE: "another program uses the port: choose another --port, or --port 0 for a free one",
    errno.EACCES: "ports below 1024 need administrator rights: choose another --port",
}


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket.

    Args:
        host: A name or address of this machine.
        port: Port number; 0 chooses a free one.

    Raises:
        SettingsError: The address or port cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno in HINTS else str(error)
        hint = HINTS.get(error.errno or 0, "use an address of this machine, such as 127.0.0.1")
        raise SettingsError(f"cannot listen on {host}:{port}: {reason}", hint) from None


def url_of(listening: socket.socket) -> str:
    """The address under which this machine reaches a listening socket."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: FastAPI, listening: socket.socket, announce: Callable[[], None]) -> signal.Signals | None:
    """Serve until SIGINT or SIGTERM. Open requests are finished, and an ingest ends after its batch.

    Args:
        app: An application made by `create_app`.
        listening: The socket, which is closed at the end.
        announce: Called once requests are accepted.

    Returns:
        The signal that ended the server.

    Raises:
        DocragError: The models cannot be loaded.
    """
    config = uvicorn.Config(
        app,
        http=HeadTimeoutProtocol,
        ws="none",
        lifespan="on",
        access_log=False,  # it would show queries; docrag has its own
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        limit_concurrency=MAX_CONNECTIONS,
    )
    server = _Server(config, announce)
    with _quiet_uvicorn(app), _ignored_signals():
        try:
            server.run([listening])
        except SystemExit:
            unknown = StoreError("the server could not start", "see its messages above")
            raise app.state.startup_error or unknown from None
    logger.info("the server ended after %s", server.ended_by.name if server.ended_by else "no signal")
    return server.ended_by


@contextmanager
def _ignored_signals() -> Iterator[None]:
    """Ignore SIGINT and SIGTERM outside uvicorn, which raises them again after it has handled them."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in handlers:
            signal.signal(number, lambda *_: None)
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class _Server(uvicorn.Server):
    """Stops the jobs before connections are closed, because event streams only end once their job does."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce
        self.ended_by: signal.Signals | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Load the models, then listen."""
        await super().startup(sockets)
        if not self.should_exit:
            self._announce()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Handle a signal."""
        self.ended_by = signal.Signals(sig)
        app: Any = self.config.app
        if app.state.jobs:
            app.state.jobs.stop()
        self.should_exit = True  # set directly, so that a second signal cannot interrupt what is being stored


class HeadTimeoutProtocol(H11Protocol):
    """HTTP/1.1 with a time limit for the head of a request, which uvicorn lacks."""

    _timeout: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A client connected."""
        super().connection_made(transport)
        self._update_timeout()

    def data_received(self, data: bytes) -> None:
        """Some bytes arrived, and perhaps the head is now complete."""
        super().data_received(data)
        self._update_timeout()

    def on_response_complete(self) -> None:
        """A response was sent, and another head may follow."""
        super().on_response_complete()
        self._update_timeout()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client disconnected."""
        self._cancel_timeout()
        super().connection_lost(exc)

    def _update_timeout(self) -> None:
        awaiting_head = self.cycle is None or self.cycle.response_complete
        if not awaiting_head:
            self._cancel_timeout()
        elif self._timeout is None and not self.transport.is_closing():
            self._timeout = self.loop.call_later(HEAD_TIMEOUT, self.transport.close)

    def _cancel_timeout(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None


@contextmanager
def _quiet_uvicorn(app: FastAPI) -> Iterator[None]:
    """Show uvicorn's warnings and errors only, and no traceback for an error that `run` raises itself."""

    def is_relevant(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING and app.state.startup_error is None

    uvicorn_log = logging.getLogger("uvicorn.error")
    uvicorn_log.addFilter(is_relevant)
    try:
        yield
    finally:
        uvicorn_log.removeFilter(is_relevant)
