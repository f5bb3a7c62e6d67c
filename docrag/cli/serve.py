"""docrag serve: an index behind a web page and an API."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import nullcontext
from typing import Annotated, Any

import typer

from docrag.cli.console import INTERRUPTED, IndexOption, errors, print_json
from docrag.cli.options import DeviceOption, DtypeOption
from docrag.errors import ModelUnavailable
from docrag.settings import Settings

HostOption = Annotated[
    str, typer.Option("--host", help="Address to listen on; any but 127.0.0.1 needs a key.")
]
PortOption = Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="DOCRAG_SERVE_KEY",
        show_envvar=True,
        help="SearchForm of everybody; others on this machine can see flags, and not variables.",
    ),
]
IngestOption = Annotated[
    bool, typer.Option("--allow-ingest", help="Let documents be uploaded and removed; makes a new index.")
]
NameOption = Annotated[
    list[str] | None,
    typer.Option("--allow-host", metavar="NAME", help="A name of this server, as a proxy gives it."),
]
LogOption = Annotated[
    bool, typer.Option("--log-requests", help="A line on stderr for each request, without what is asked.")
]
UrlOption = Annotated[bool, typer.Option("--json", help="Print the address as JSON once it answers.")]


def serve(
    index: IndexOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    api_key: KeyOption = None,
    allow_ingest: IngestOption = False,
    allow_host: NameOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    log_requests: LogOption = False,
    as_json: UrlOption = False,
) -> None:
    """Search an index from a browser, and from programs by a JSON API."""
    from docrag.location.resolve import local_folder
    from docrag.settings import load_settings

    face = _face()
    settings = load_settings(index=index, device=device, dtype=dtype)
    serve_settings = face.ServeSettings(
        host=host,
        port=port,
        api_key=api_key or "",
        allowed_hosts=tuple(allow_host or ()),
        allow_ingest=allow_ingest,
        folder=local_folder(settings),
        source=settings.index.rstrip("/").rpartition("/")[2],
    )
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("docrag.serve.access").setLevel(logging.INFO if log_requests else logging.WARNING)
    if run(face, settings, serve_settings, as_json=as_json) is signal.SIGINT:
        raise typer.Exit(INTERRUPTED)


def run(face: Any, settings: Settings, serve_settings: Any, *, as_json: bool) -> signal.Signals | None:
    """Open the index and serve it until a signal comes; which one."""
    from docrag.index.index import Index
    from docrag.serve.handover import advertised

    with face.listen(serve_settings.host, serve_settings.port) as listening:
        url = face.url_of(listening)
        new = "://" not in settings.index and not serve_settings.folder.exists()
        if new and "image_base_url" not in settings.model_fields_set:  # an old one keeps what its pages say
            settings = settings.model_copy(update={"image_base_url": url})
        with Index.open(settings=settings, create=serve_settings.allow_ingest) as opened:
            app = face.create_app(opened, serve_settings)
            access, beside = app.state.access, serve_settings.folder
            token = access.token if access.needed else ""
            alone = beside.is_dir() and "://" not in settings.index  # others can open a collection themselves
            with advertised(beside, url, app.state.run, token) if alone else nullcontext():
                ended_by: signal.Signals | None = face.run(
                    app, listening, lambda: _announce(url, as_json=as_json)
                )
    return ended_by


def _announce(url: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"url": url, "pid": os.getpid()})
    errors.print(f"docrag at {url} (Ctrl-C ends it)")


class _Face:
    """What of docrag.serve the command needs."""

    def __init__(self) -> None:
        from docrag.serve import app, settings
        from docrag.serve import server as running

        self.create_app = app.create_app
        self.ServeSettings = settings.ServeSettings
        self.listen, self.url_of, self.run = running.listen, running.url_of, running.run


def _face() -> _Face:
    """The web face.

    Raises:
        ModelUnavailable: What it is made of is not installed.
    """
    try:
        return _Face()
    except ImportError as error:
        hint = "pip install 'docrag-qdrant[serve]'"
        raise ModelUnavailable(f"the web server cannot be imported: {error}", hint) from error
