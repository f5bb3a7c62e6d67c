"""How clients reach the server: over stdin and stdout, or over HTTP on this machine only."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import uvicorn
from mcp.server import Server
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette

from docrag.errors import SettingsError

logger = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 256 * 1024
SHUTDOWN_SECONDS = 3
"""How long the HTTP server waits for running requests when it is stopped."""
STDIN_CHUNK = 65536
"""Bytes that are read from stdin at once."""


def serve_stdio(server: Server[Any]) -> signal.Signals | None:
    """Serve one client until it closes stdin or a signal arrives.

    Returns:
        The signal that stopped the server, SIGINT or SIGTERM; None if the client closed stdin.
    """
    return anyio.run(_run_stdio, server)


def serve_http(
    server: Server[Any], host: str, port: int, announce: Callable[[str], None]
) -> signal.Signals | None:
    """Serve clients on this machine until a signal arrives.

    Args:
        server: What `make_server` returns.
        host: A loopback address of this machine.
        port: The port; 0 takes a free one.
        announce: Called with the URL as soon as the server listens.

    Returns:
        The signal that stopped the server.

    Raises:
        SettingsError: Other machines could reach the host, or the port is not available.
    """
    require_loopback(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror}", "give another --port"
        ) from None
    with listener:
        name = f"[{host}]" if family == socket.AF_INET6 else host
        announce(f"http://{name}:{listener.getsockname()[1]}/mcp")
        return anyio.run(_run_http, http_app(server, name), listener)


def require_loopback(host: str) -> None:
    """Refuse an address that other machines can reach.

    This server has neither user accounts nor TLS: an API key of its own would be sent in the clear, and would
    open all documents to anyone who sees it. To share an index, put a proxy in front that has both.

    Raises:
        SettingsError: The host is not localhost, 127.x.x.x or ::1.
    """
    is_loopback = host == "localhost"
    with suppress(ValueError):
        is_loopback = is_loopback or ipaddress.ip_address(host).is_loopback
    if not is_loopback:
        hint = "keep 127.0.0.1, and reach it through a proxy with TLS and logins, or through ssh -L"
        raise SettingsError(f"host {host}: others could read all documents there", hint)


def http_app(server: Server[Any], host: str) -> Starlette:
    """Make an ASGI application of the server, which keeps no state between requests.

    A web page can make a browser send requests to 127.0.0.1 under the page's own host name (DNS rebinding).
    Every Host and Origin except those of this machine is therefore refused.
    """
    hosts = [f"{name}:*" for name in dict.fromkeys(("127.0.0.1", "localhost", "[::1]", host))]
    security = TransportSecuritySettings(
        allowed_hosts=hosts, allowed_origins=[f"http://{name}" for name in hosts]
    )
    return server.streamable_http_app(
        stateless_http=True,
        json_response=True,
        max_request_body_size=MAX_REQUEST_BYTES,
        transport_security=security,
    )


async def _run_stdio(server: Server[Any]) -> signal.Signals | None:
    scope = anyio.CancelScope()

    async def serve() -> None:
        with scope:
            try:
                async with stdio_server(stdin=_CancellableLines(sys.stdin)) as (read, write):
                    await server.run(read, write, server.create_initialization_options())
            except* BrokenPipeError:  # the client has ended
                logger.debug("the client closed the pipe")

    return await _until_signal(serve, scope.cancel)


async def _run_http(app: Starlette, listener: socket.socket) -> signal.Signals | None:
    config = uvicorn.Config(
        app, access_log=False, log_config=None, timeout_graceful_shutdown=SHUTDOWN_SECONDS, lifespan="on"
    )
    server = uvicorn.Server(config)

    def stop() -> None:
        server.should_exit = True

    return await _until_signal(partial(server.serve, sockets=[listener]), stop)


async def _until_signal(
    serve: Callable[[], Awaitable[None]], stop: Callable[[], None]
) -> signal.Signals | None:
    """Run a server until it ends, or until Ctrl-C or SIGTERM stops it."""
    stopped_by: signal.Signals | None = None

    async def watch() -> None:
        nonlocal stopped_by
        async for received in signals:
            logger.info("stopping on %s", received.name)
            stopped_by = received
            stop()

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await serve()
            tasks.cancel_scope.cancel()
    return stopped_by


class _CancellableLines(anyio.AsyncFile[str]):
    """Lines of stdin; waiting for one can be cancelled.

    The SDK's own reader blocks a thread until a line arrives, and a process that is to stop waits for it.
    """

    async def __aiter__(self) -> AsyncIterator[str]:
        fd = self.wrapped.fileno()
        rest = b""
        while chunk := await _read_chunk(fd):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line.decode(errors="replace")
        if rest:
            yield rest.decode(errors="replace")


async def _read_chunk(fd: int) -> bytes:
    # epoll refuses plain files and /dev/null with PermissionError; reading those never blocks.
    with suppress(PermissionError):
        await anyio.wait_readable(fd)
    return os.read(fd, STDIN_CHUNK)
