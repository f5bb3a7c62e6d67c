"""The application: an index behind HTTP."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from docrag.errors import DocragError
from docrag.index import Index
from docrag.search.heatmap import Heatmap
from docrag.serve import api, health, images, ingest_api, login, pages
from docrag.serve.errors import answer_errors
from docrag.serve.jobs import Jobs
from docrag.serve.limits import BodyLimits
from docrag.serve.metrics import Metrics, Watch
from docrag.serve.security import Access, Security
from docrag.serve.settings import ServeSettings
from docrag.serve.tracing import FRAMEWORK

STATIC = Path(__file__).parent / "static"
HEATMAPS = 64
"""Questions whose heatmaps are kept: a browser asks for each word of one by itself."""
AT_ONCE = (os.cpu_count() or 1) + 2
"""Searches under way; the others wait in the order in which they came, without a thread. Most of a search
holds the interpreter lock, also in the engine (qdrant-edge 0.9.0), so that more threads only wait for each
other: of fifty clients on two cores, forty at once took a fifth more CPU time a search than four at once, and
350 MiB more of memory."""


def create_app(index: Index, settings: ServeSettings | None = None) -> FastAPI:
    """A server over an open index, which it closes when its lifespan ends.

    It answers under its own names only: tests talk to `TestClient(app, base_url="http://127.0.0.1:8000")`.

    Args:
        index: Shared by all requests.
        settings: By default for this machine alone, and only to read.
    """
    settings = settings or ServeSettings()
    app = FastAPI(
        title="docrag",
        summary="Find the page that answers a question.",
        version=version("docrag-qdrant"),
        telemetry=FRAMEWORK,
        docs_url=None,  # it loads scripts from elsewhere
        redoc_url=None,
        lifespan=_lifespan,
    )
    state = app.state
    state.index, state.settings, state.ready = index, settings, False
    state.failed = None
    state.run = secrets.token_hex(16)
    state.model = index.fingerprint["late"]["model"]
    state.access, state.metrics = Access(settings.api_key), Metrics()
    state.jobs = Jobs(index, settings, state.metrics) if settings.allow_ingest else None
    state.heatmap = _heatmaps(index)
    state.searching = CapacityLimiter(AT_ONCE)
    answer_errors(app)
    _add_routes(app)
    app.add_middleware(BodyLimits, settings=settings)
    app.add_middleware(Security, settings=settings, access=state.access)
    app.add_middleware(Watch, metrics=state.metrics)  # the last one added is the first to be asked
    return app


class Static(StaticFiles):
    """Files of the pages; an address with a version in its query may be kept for ever."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file."""
        answer = await super().get_response(path, scope)
        fixed = b"v=" in scope["query_string"]
        answer.headers["Cache-Control"] = "public, max-age=31536000, immutable" if fixed else "no-cache"
        return answer


def _add_routes(app: FastAPI) -> None:
    for module in (health, api, images):
        app.include_router(module.router)
    app.include_router(ingest_api.router if app.state.settings.allow_ingest else ingest_api.refusing)
    if app.state.access.needed:
        app.include_router(login.router)
    app.mount("/static", Static(directory=STATIC), name="static")
    app.include_router(pages.routes(app.state))


def _heatmaps(index: Index) -> Callable[[str, str], Heatmap]:
    @lru_cache(maxsize=HEATMAPS)
    def heatmap(page_id: str, query: str) -> Heatmap:
        return index.heatmap(page_id, query)

    return heatmap


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state = app.state
    index: Index = state.index
    try:
        await to_thread.run_sync(lambda: index.search("ready?", k=1))  # loads the models
        if state.jobs:
            await to_thread.run_sync(state.jobs.resume)
        state.ready = True
        yield
    except DocragError as error:
        state.failed = error  # for who runs the server: uvicorn tells nobody why it did not start
        raise
    finally:
        state.ready = False
        if state.jobs:
            await to_thread.run_sync(state.jobs.join)
        await state.metrics.idle()
        await to_thread.run_sync(index.close)
