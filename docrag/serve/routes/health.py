"""Health checks and metrics."""

from __future__ import annotations

import logging

import anyio
from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.datastructures import State

from docrag.serve.errors import RETRY_LATER, error_response
from docrag.serve.searches import require_answer

logger = logging.getLogger(__name__)

READY_SECONDS = 1.8
"""Seconds after which /readyz gives up whatever it waits for."""
STORE_SECONDS = 1.5
"""Seconds that a Qdrant server may take to answer it."""

router = APIRouter(tags=["operation"])


@router.get("/healthz")
async def alive(request: Request) -> dict[str, str]:
    """The process is alive. `run` changes with each start of the server."""
    return {"status": "ok", "run": request.app.state.run}


@router.get("/readyz", responses={503: {"description": "Models are loading, or the index does not answer."}})
async def ready(request: Request) -> Response:
    """The models are loaded and the index can be searched; answers within 2 seconds in any case."""
    if not request.app.state.ready:
        return JSONResponse({"status": "not ready"}, 503)
    try:
        with anyio.fail_after(READY_SECONDS):
            state = request.app.state
            await to_thread.run_sync(
                _require_answer, state, limiter=state.readiness_checks, abandon_on_cancel=True
            )
    except TimeoutError:
        logger.error("the index did not answer within %s s", READY_SECONDS)
        hint = "see the server's log, and the process or the server that holds the index"
        return error_response(503, "the index does not answer", hint, RETRY_LATER)
    return JSONResponse({"status": "ready"})


def _require_answer(state: State) -> None:
    """Ask the index for something.

    Raises:
        StoreError: The index is gone, or does not answer.
    """
    state.searches.require_index()
    require_answer(state.index, STORE_SECONDS)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(request: Request) -> Response:
    """Metrics for Prometheus."""
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)
