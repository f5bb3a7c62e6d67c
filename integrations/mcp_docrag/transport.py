"""How clients reach the server: over stdin and stdout, or over HTTP on this machine."""

from __future__ import annotations

import ipaddress
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

MOST_REQUEST_BYTES = 256 * 1024
GRACE = 3
"""Seconds that requests under way have when the server is told to end."""


def serve_stdio(server: Server[Any]) -> signal.Signals | None:
    """Serve one client, until it closes stdin or a signal comes.

    Returns:
        The signal that ended it, SIGINT or SIGTERM; None where the client did.
    """
    return anyio.run(_stdio, server)


def serve_http(
    server: Server[Any], host: str, port: int, announce: Callable[[str], None]
) -> signal.Signals | None:
    """Serve clients on this machine, until a signal comes.

    Args:
        server: Of an index.
        host: An address of this machine that others cannot reach.
        port: 0 takes a free one.
        announce: Is told the address when it can be reached.

    Returns:
        The signal that ended it.

    Raises:
        SettingsError: Others could reach the host, or the port cannot be had.
    """
    require_loopback(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror}", "give another --port"
        ) from None
    with listening:
        name = f"[{host}]" if family == socket.AF_INET6 else host
        announce(f"http://{name}:{listening.getsockname()[1]}/mcp")
        return anyio.run(_http, http_app(server, name), listening)


def require_loopback(host: str) -> None:
    """Refuse an address that other machines can reach.

    docrag knows no users and no TLS, so a key of its own would travel in the clear and open all documents to
    whoever has it. Who shares an index puts something in front that has both.

    Raises:
        SettingsError: It is not localhost, 127.x.x.x or ::1.
    """
    own = host == "localhost"
    with suppress(ValueError):
        own = own or ipaddress.ip_address(host).is_loopback
    if not own:
        hint = "keep 127.0.0.1, and let a proxy with TLS and logins, or ssh -L, lead there"
        raise SettingsError(f"host {host}: others could read all documents there", hint)


def http_app(server: Server[Any], host: str) -> Starlette:
    """The server as an ASGI application.

    A web page can make a browser send requests to 127.0.0.1 under a name of its own (DNS rebinding), so every
    Host and Origin but those of this machine is refused. Nothing is kept between requests.
    """
    hosts = [f"{name}:*" for name in dict.fromkeys(("127.0.0.1", "localhost", "[::1]", host))]
    security = TransportSecuritySettings(
        allowed_hosts=hosts, allowed_origins=[f"http://{name}" for name in hosts]
    )
    return server.streamable_http_app(
        stateless_http=True,
        json_response=True,
        max_request_body_size=MOST_REQUEST_BYTES,
        transport_security=security,
    )


async def _stdio(server: Server[Any]) -> signal.Signals | None:
    scope = anyio.CancelScope()

    async def serve() -> None:
        with scope:
            try:
                async with stdio_server(stdin=_Lines(sys.stdin)) as (read, write):
                    await server.run(read, write, server.create_initialization_options())
            except* BrokenPipeError:  # the client is gone, and stdin with it
                pass

    return await _until_signal(serve, scope.cancel)


async def _http(app: Starlette, listening: socket.socket) -> signal.Signals | None:
    config = uvicorn.Config(
        app, access_log=False, log_config=None, timeout_graceful_shutdown=GRACE, lifespan="on"
    )
    server = uvicorn.Server(config)
    return await _until_signal(
        partial(server.serve, sockets=[listening]), lambda: setattr(server, "should_exit", True)
    )


async def _until_signal(
    serve: Callable[[], Awaitable[None]], stop: Callable[[], None]
) -> signal.Signals | None:
    """Run a server until it ends, or is stopped by Ctrl-C or SIGTERM."""
    ended_by: signal.Signals | None = None

    async def watch() -> None:
        nonlocal ended_by
        async for received in signals:
            ended_by = received
            stop()

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await serve()
            tasks.cancel_scope.cancel()
    return ended_by


class _Lines(anyio.AsyncFile[str]):
    """Lines of stdin; waiting for one can be cancelled.

    The SDK's own reader blocks a thread until a line comes, and a process that is told to end waits with it.
    """

    async def __aiter__(self) -> AsyncIterator[str]:
        fd, rest = self.wrapped.fileno(), b""
        while chunk := await _chunk(fd):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line.decode(errors="replace")
        if rest:
            yield rest.decode(errors="replace")


async def _chunk(fd: int) -> bytes:
    with suppress(PermissionError):  # of epoll, for plain files and /dev/null, which never make one wait
        await anyio.wait_readable(fd)
    return os.read(fd, 65536)
