"""The application: an index behind HTTP."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from anyio import to_thread
from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from docrag.index import Index
from docrag.serve import images
from docrag.serve.settings import ServeSettings

STATIC = Path(__file__).parent / "static"


def create_app(index: Index, settings: ServeSettings | None = None) -> FastAPI:
    """A server over an open index, which it closes when its lifespan ends.

    Args:
        index: Shared by all requests.
        settings: By default for this machine alone, and only to read.
    """
    app = FastAPI(
        title="docrag", version=version("docrag-qdrant"), docs_url=None, redoc_url=None, lifespan=_lifespan
    )
    app.state.index = index
    app.state.settings = settings or ServeSettings()
    app.include_router(images.router)
    if STATIC.is_dir():
        app.mount("/static", StaticFiles(directory=STATIC), name="static")
    if importlib.util.find_spec("docrag.serve.pages"):
        app.include_router(importlib.import_module("docrag.serve.pages").routes(app.state))
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    index: Index = app.state.index
    try:
        await to_thread.run_sync(lambda: index.search("ready?", k=1))  # loads the models
        yield
    finally:
        await to_thread.run_sync(index.close)
