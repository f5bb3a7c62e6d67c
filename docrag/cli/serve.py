"""docrag serve: an index behind a web page and an HTTP API."""

from __future__ import annotations

import logging
import os
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from docrag.cli.command import INTERRUPTED
from docrag.cli.console import errors, print_json
from docrag.cli.options import DeviceOptions, IndexOption
from docrag.errors import ModelUnavailable

if TYPE_CHECKING:
    from docrag.index.index import Index
    from docrag.serve.settings import ServeSettings
    from docrag.settings import Settings


def serve(
    devices: DeviceOptions,
    index: IndexOption = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; any that others can reach needs a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 picks a free one.")] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            envvar="DOCRAG_SERVE_KEY",
            show_envvar=True,
            help="Key that every request must carry. Prefer the variable: other users of this machine can "
            "see command lines.",
        ),
    ] = None,
    allow_ingest: Annotated[
        bool,
        typer.Option(
            "--allow-ingest",
            help="Let clients upload and remove documents; creates the index if there is none.",
        ),
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME",
            help="Host name under which a proxy forwards requests; may be repeated.",
        ),
    ] = None,
    pages_of: Annotated[
        list[str] | None,
        typer.Option(
            "--pages-of",
            metavar="URI",
            help="Another index whose page images are shown too, for Qdrant's dashboard; may be repeated.",
        ),
    ] = None,
    log_requests: Annotated[
        bool, typer.Option("--log-requests", help="Log each request to stderr, without its question.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print URL and process id as JSON once the server answers.")
    ] = False,
) -> None:
    """Search an index in a browser, and from programs through an HTTP API."""
    _require_web_server()
    from docrag.serve.settings import ServeSettings

    settings = devices.settings(index=index)
    serve_settings = ServeSettings.for_index(
        settings,
        pages_of=pages_of or (),
        host=host,
        port=port,
        api_key=api_key or "",
        allowed_hosts=tuple(allow_host or ()),
        allow_ingest=allow_ingest,
    )
    logging.getLogger("docrag.serve.access").setLevel(logging.INFO if log_requests else logging.WARNING)
    if run(settings, serve_settings, as_json=as_json) is signal.SIGINT:
        raise typer.Exit(INTERRUPTED)


def run(settings: Settings, serve_settings: ServeSettings, *, as_json: bool) -> signal.Signals | None:
    """Open the index and serve it until a signal ends the server; the signal."""
    from docrag.serve import server
    from docrag.serve.app import create_app
    from docrag.serve.start_notice import other_address_notice

    with server.listen(serve_settings.host, serve_settings.port) as listening:
        url = server.url_of(listening)
        with _open(settings, url, create=serve_settings.allow_ingest) as opened:
            named_url = opened.image_base_url or ""
            notice = other_address_notice(settings.index, named_url, url, serve_settings)
            app = create_app(opened, serve_settings)
            return server.run(app, listening, lambda: _announce(url, notice, as_json=as_json))


def _open(settings: Settings, url: str, *, create: bool) -> Index:
    """Open the index. The pages of one that has none yet will name this server, unless it is said otherwise.

    Args:
        settings: They name the index.
        url: Where this server listens.
        create: Whether to create the index if it does not exist.
    """
    from docrag.index.index import Index

    opened = Index.open(settings=settings, create=create)
    if settings.image_base_url or opened.image_base_url is not None:
        return opened
    opened.close()
    return Index.open(settings=settings.model_copy(update={"image_base_url": url}), create=create)


def _announce(url: str, notice: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"url": url, "pid": os.getpid()})
    errors.print(f"docrag at {url} (press Ctrl-C to stop)")
    if notice:
        errors.print(f"note: {notice}")


def _require_web_server() -> None:
    """Check that the packages of the web server are installed.

    Raises:
        ModelUnavailable: One of them is missing.
    """
    try:
        import docrag.serve.app
        import docrag.serve.server  # noqa: F401
    except ImportError as error:
        raise ModelUnavailable(
            f"the web server cannot be imported: {error}", "pip install 'docrag-qdrant[serve]'"
        ) from error
