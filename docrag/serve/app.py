"""The application: an index behind HTTP."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from docrag.errors import DocragError
from docrag.index.following import following
from docrag.index.index import Index
from docrag.serve.document_list import DocumentList, max_age
from docrag.serve.errors import add_error_handlers
from docrag.serve.jobs import Jobs
from docrag.serve.limits import BodyLimits, ServerTimeLimit
from docrag.serve.metrics import Metrics, RequestObserver
from docrag.serve.page_images import ServedPages
from docrag.serve.rendering import STATIC, not_found
from docrag.serve.routes import api, health, images, ingest, login, pages
from docrag.serve.searches import Searches
from docrag.serve.security import Access, Security
from docrag.serve.settings import ServeSettings
from docrag.serve.tracing import FASTAPI_TELEMETRY
from docrag.settings import load_settings

logger = logging.getLogger(__name__)

MAX_READINESS_CHECKS = 4
"""Threads that may wait for the index on behalf of /readyz."""
OLD_NOTICE = "serve.json"
"""The file in which earlier versions said where the server of an index listens, with a token for it."""


def create_app(index: Index, settings: ServeSettings | None = None) -> FastAPI:
    """Build a server over an open index, which it closes when its lifespan ends.

    Once a migration has replaced the index, the server opens it anew.
    It only responds to its own host names, so tests use `TestClient(app, base_url="http://127.0.0.1:8000")`.

    Args:
        index: The index that all requests share.
        settings: Settings of the server; by default it is read-only and for this machine alone.
    """
    settings = settings or ServeSettings()
    app = FastAPI(
        title="docrag",
        summary="Find the page that answers a question.",
        version=version("docrag-qdrant"),
        telemetry=FASTAPI_TELEMETRY,
        docs_url=None,  # this page would load scripts from another site
        redoc_url=None,
        lifespan=_lifespan,
    )
    state = app.state
    index = following(index)
    state.index = index
    state.settings = settings
    state.ready = False
    state.startup_error = None
    state.run = secrets.token_hex(16)
    state.access = Access(settings.api_key)
    state.metrics = Metrics()
    state.page_images = ServedPages(index, settings)
    state.documents = DocumentList(index, max_age(index.status().uri))
    state.searches = Searches(index, state.documents, settings, state.metrics)
    state.jobs = Jobs(index, state.documents, settings, state.metrics) if settings.allow_ingest else None
    state.readiness_checks = CapacityLimiter(MAX_READINESS_CHECKS)
    add_error_handlers(app)
    app.add_exception_handler(404, not_found)
    _add_routes(app)
    app.add_middleware(ServerTimeLimit, seconds=settings.server_timeout)
    app.add_middleware(BodyLimits, settings=settings)
    app.add_middleware(Security, settings=settings, access=state.access)
    app.add_middleware(RequestObserver, metrics=state.metrics)  # the last one added is the outermost
    return app


def from_settings() -> FastAPI:
    """Build a server over the index that docrag's settings name, for uvicorn or gunicorn to run.

    The options of `docrag serve` come from the variables DOCRAG_SERVE_HOST, DOCRAG_SERVE_KEY,
    DOCRAG_SERVE_ALLOW_HOST (names, separated by commas) and DOCRAG_SERVE_ALLOW_INGEST.

    Raises:
        SettingsError: A setting cannot be used.
        IndexNotFound: There is no index, and documents may not be uploaded.
    """
    settings = load_settings()
    serve_settings = ServeSettings.from_environment(settings)
    index = Index.open(settings=settings, create=serve_settings.allow_ingest)
    return create_app(index, serve_settings)


class VersionedStaticFiles(StaticFiles):
    """Static files; those whose address holds a version may be cached forever."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, with its caching header."""
        response = await super().get_response(path, scope)
        versioned = b"v=" in scope["query_string"]
        caching = "public, max-age=31536000, immutable" if versioned else "no-cache"
        response.headers["Cache-Control"] = caching
        return response


def _add_routes(app: FastAPI) -> None:
    for module in (health, api, images):
        app.include_router(module.router)
    app.include_router(ingest.router if app.state.settings.allow_ingest else ingest.read_only_router)
    if app.state.access.needed:
        app.include_router(login.router)
    app.mount("/static", VersionedStaticFiles(directory=STATIC), name="static")
    app.include_router(pages.make_router(app.state))


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state = app.state
    index: Index = state.index
    try:
        _remove_old_notice(state.settings.folder)
        started = time.perf_counter()
        await to_thread.run_sync(lambda: index.search("ready?", k=1))  # loads the models
        logger.info("models loaded in %.1f s", time.perf_counter() - started)
        if state.jobs:
            await to_thread.run_sync(state.jobs.resume)
        state.ready = True
        yield
    except DocragError as error:
        state.startup_error = error  # uvicorn does not pass on why the application failed to start
        raise
    finally:
        state.ready = False
        logger.info("shutting down: waiting for ingest jobs and open requests")
        if state.jobs:
            await to_thread.run_sync(state.jobs.join)
        await state.metrics.wait_until_idle()
        await to_thread.run_sync(index.close)
        logger.info("the index is closed")


def _remove_old_notice(folder: Path | None) -> None:
    """Remove what a server of an earlier version left in the folder when it was killed."""
    if folder is None:
        return
    with suppress(OSError):  # on a read-only file system it stays, and does no harm: nothing reads it
        (folder / OLD_NOTICE).unlink()
        logger.info("removed %s, which an earlier version wrote", folder / OLD_NOTICE)
