"""docrag mcp: an index for assistants, by the Model Context Protocol."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from contextlib import closing, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from docrag.cli.command import INTERRUPTED
from docrag.cli.console import errors, print_json
from docrag.cli.options import DeviceOptions, IndexOption, refuse
from docrag.errors import ModelUnavailable

HOST, PORT = "127.0.0.1", 8765


def mcp(
    devices: DeviceOptions,
    index: IndexOption = None,
    http: Annotated[
        bool, typer.Option("--http", help="Serve HTTP to this machine, instead of stdin and stdout.")
    ] = False,
    host: Annotated[
        str | None,
        typer.Option("--host", help=f"With --http: 127.0.0.1, ::1 or localhost (default: {HOST})."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=0, max=65535, help=f"With --http: the port; 0 picks a free one (default: {PORT})."
        ),
    ] = None,
    config: Annotated[
        bool,
        typer.Option(
            "--config",
            "--json",
            help="Print the JSON that a client's settings need to start or reach this server, and exit.",
        ),
    ] = False,
) -> None:
    """Let an assistant search an index and look at its pages (MCP: Claude, Cursor, VS Code and others)."""
    from docrag.index.following import following
    from docrag.index.index import Index

    if not http:
        refuse({"--host": host, "--port": port}, "without --http", "add --http")
    settings = devices.settings(index=index)
    host, port = HOST if host is None else host, PORT if port is None else port
    if config:
        if http:
            refuse(
                devices.flags(), "on the URL that --config --http prints", "give them to docrag mcp --http"
            )
            print_json(client_config({"type": "http", "url": f"http://{host}:{port}/mcp"}))
        else:
            print_json(
                client_config(start_command({"--index": whole_uri(settings.index), **devices.flags()}))
            )
        return
    server = _integration()
    if http:
        server.require_loopback(host)
    elif sys.stdin.isatty():
        errors.print(
            "MCP on stdin and stdout, for a client that starts this command: see docrag mcp --config"
        )
    with redirect_stdout(sys.stderr):  # stdout belongs to the protocol
        opened = following(Index.open(settings=settings, create=False))
    with closing(opened):
        protocol = server.make_server(opened)
        ended_by = (
            server.serve_http(protocol, host, port, _announce) if http else server.serve_stdio(protocol)
        )
    if ended_by is signal.SIGINT:
        raise typer.Exit(INTERRUPTED)


def start_command(flags: Mapping[str, object]) -> dict[str, Any]:
    """How a client starts the server; flags whose value is None are left out."""
    arguments = [str(part) for flag, value in flags.items() if value is not None for part in (flag, value)]
    return {"command": sys.executable, "args": ["-m", "docrag", "mcp", *arguments]}


def client_config(server: Mapping[str, Any]) -> dict[str, Any]:
    """The block that most clients read: `mcpServers`, with one server.

    >>> client_config({"type": "http", "url": "http://127.0.0.1:8765/mcp"})
    {'mcpServers': {'docrag': {'type': 'http', 'url': 'http://127.0.0.1:8765/mcp'}}}
    """
    return {"mcpServers": {"docrag": dict(server)}}


def whole_uri(uri: str) -> str:
    """The URI of an index as it works from any directory: clients start servers in one of their own."""
    return uri if "://" in uri else str(Path(uri).expanduser().absolute())


def _announce(url: str) -> None:
    errors.print(f"MCP at {url} (press Ctrl-C to stop)")


def _integration() -> ModuleType:
    """mcp_docrag: the one integration that docrag itself imports, and only when this command runs.

    Raises:
        ModelUnavailable: The MCP SDK is not installed.
    """
    try:
        import mcp_docrag
    except ImportError as error:
        raise ModelUnavailable(
            f"the MCP SDK cannot be imported: {error}", "pip install 'docrag-qdrant[mcp]'"
        ) from error
    return mcp_docrag
