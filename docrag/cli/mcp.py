"""docrag mcp: an index for assistants, by the Model Context Protocol."""

from __future__ import annotations

import signal
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from docrag.cli.console import INTERRUPTED, IndexOption, errors, print_json
from docrag.cli.options import DeviceOption, DtypeOption
from docrag.errors import ModelUnavailable

HttpOption = Annotated[bool, typer.Option("--http", help="Serve HTTP on this machine, not stdin and stdout.")]
HostOption = Annotated[str, typer.Option("--host", help="With --http: 127.0.0.1, ::1 or localhost.")]
PortOption = Annotated[int, typer.Option("--port", min=0, max=65535, help="With --http; 0 takes a free one.")]
ConfigOption = Annotated[
    bool,
    typer.Option(
        "--config", "--json", help="Print what a client's settings need, as JSON, and serve nothing."
    ),
]


def mcp(
    index: IndexOption = None,
    http: HttpOption = False,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8765,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    config: ConfigOption = False,
) -> None:
    """Let an assistant search an index and look at its pages (MCP: Claude, Cursor, VS Code and others)."""
    from docrag.index.index import Index
    from docrag.settings import load_settings

    settings = load_settings(index=index, device=device, dtype=dtype)
    if config:
        flags = {"--index": whole_uri(settings.index), "--device": device, "--dtype": dtype}
        print_json(client_config(flags, f"http://{host}:{port}/mcp" if http else None))
        return
    server = _integration()
    if http:
        server.require_loopback(host)
    elif sys.stdin.isatty():
        errors.print("MCP on stdin and stdout, for a client that starts this: see docrag mcp --config")
    with redirect_stdout(sys.stderr):  # stdout belongs to the protocol
        opened = Index.open(settings=settings, create=False)
    with opened:
        face = server.make_server(opened)
        ended_by = server.serve_http(face, host, port, _announce) if http else server.serve_stdio(face)
    if ended_by is signal.SIGINT:
        raise typer.Exit(INTERRUPTED)


def client_config(flags: dict[str, str | None], url: str | None = None) -> dict[str, Any]:
    """The block that most clients read: `mcpServers` with one server.

    Args:
        flags: Of the command that a client starts; those that are None are left out.
        url: Of a server that runs already; no command then.

    >>> client_config({}, "http://127.0.0.1:8765/mcp")
    {'mcpServers': {'docrag': {'type': 'http', 'url': 'http://127.0.0.1:8765/mcp'}}}
    """
    given = [part for name, value in flags.items() if value is not None for part in (name, value)]
    command = {"command": sys.executable, "args": ["-m", "docrag", "mcp", *given]}
    return {"mcpServers": {"docrag": {"type": "http", "url": url} if url else command}}


def whole_uri(uri: str) -> str:
    """An index as it is found from any directory: clients start servers in one of their own."""
    return uri if "://" in uri else str(Path(uri).expanduser().absolute())


def _announce(url: str) -> None:
    errors.print(f"MCP at {url} (Ctrl-C ends it)")


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
