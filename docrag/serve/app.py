"""The application: an index behind HTTP."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from anyio import to_thread
from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from docrag.errors import DocragError
from docrag.index.index import Index
from docrag.serve.document_list import Documents
from docrag.serve.errors import answer_errors
from docrag.serve.jobs import Jobs
from docrag.serve.limits import BodyLimits
from docrag.serve.metrics import Metrics, Watch
from docrag.serve.rendering import nothing_here
from docrag.serve.routes import api, health, images, login, pages
from docrag.serve.routes import ingest as ingest_api
from docrag.serve.searches import Searches
from docrag.serve.security import Access, Security
from docrag.serve.settings import ServeSettings
from docrag.serve.tracing import FRAMEWORK

STATIC = Path(__file__).parent / "static"


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
    state.access, state.metrics = Access(settings.api_key), Metrics()
    state.documents = Documents(index)
    state.searches = Searches(index, state.documents, settings, state.metrics)
    changing = settings.allow_ingest
    state.jobs = Jobs(index, state.documents, settings, state.metrics) if changing else None
    answer_errors(app)
    app.add_exception_handler(404, nothing_here)
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
