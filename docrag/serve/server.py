"""Running an application on a socket, until a signal comes."""

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

GRACE = 5
"""Seconds that requests under way have when the server is told to end."""
HEAD_SECONDS = 15.0
"""In which the head of a request must have come."""
MOST_CONNECTIONS = 512
HINTS = {
    errno.EADDRINUSE: "another program has it: give another --port, or --port 0 for a free one",
    errno.EACCES: "ports below 1024 are the administrator's: give another --port",
}


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: A name or address of this machine.
        port: 0 takes a free one.

    Raises:
        SettingsError: The port cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno in HINTS else str(error)
        hint = HINTS.get(error.errno or 0, "give an address of this machine, such as 127.0.0.1")
        raise SettingsError(f"cannot listen on {host}:{port}: {reason}", hint) from None


def url_of(listening: socket.socket) -> str:
    """Where this machine reaches a socket."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: FastAPI, listening: socket.socket, announce: Callable[[], None]) -> signal.Signals | None:
    """Serve until SIGINT or SIGTERM; requests under way are answered, and an ingest ends with its batch.

    Args:
        app: Made by `create_app`.
        listening: Closed in the end.
        announce: Called when requests are answered.

    Returns:
        The signal that ended it.

    Raises:
        DocragError: The models cannot be loaded.
    """
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        lifespan="on",
        access_log=False,  # it shows what is asked; docrag's own does not
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
        limit_concurrency=MOST_CONNECTIONS,
    )
    server = _Server(config, announce)
    with _quiet_uvicorn(app), _signals_left_to_uvicorn():
        try:
            server.run([listening])
        except SystemExit:
            raise app.state.failed or StoreError(
                "the server could not start", "see what it says above"
            ) from None
    return server.ended_by


@contextmanager
def _signals_left_to_uvicorn() -> Iterator[None]:
    """It raises a signal again when it has ended by it, which then must not end the process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, lambda *_: None)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Server(uvicorn.Server):
    """Tells the application that it ends before its connections are closed: streams of events end then."""

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
        """End."""
        self.ended_by = signal.Signals(sig)
        app: Any = self.config.app
        if app.state.jobs:
            app.state.jobs.stop()
        self.should_exit = True  # a second signal does not cut off what is being stored


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that waits for the head of a request so long and no longer: uvicorn would wait for ever."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A client is there."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Some bytes came: perhaps a head is whole now."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Another head may come."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop_watching()
        super().connection_lost(exc)

    def _watch(self) -> None:
        heading = self.cycle is None or self.cycle.response_complete
        if not heading:
            self._stop_watching()
        elif self._late is None and not self.transport.is_closing():
            self._late = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_watching(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


@contextmanager
def _quiet_uvicorn(app: FastAPI) -> Iterator[None]:
    """Show its warnings and errors, but not that it starts and ends, nor what is raised as docrag's error."""

    def worth_showing(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING and app.state.failed is None

    log = logging.getLogger("uvicorn.error")
    log.addFilter(worth_showing)
    try:
        yield
    finally:
        log.removeFilter(worth_showing)
