"""Health checks and metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

router = APIRouter(tags=["operation"])


@router.get("/healthz")
async def alive(request: Request) -> dict[str, str]:
    """The process is alive. `run` changes with each start of the server."""
    return {"status": "ok", "run": request.app.state.run}


@router.get("/readyz", responses={503: {"description": "Models are loading, or the index is closed."}})
def ready(request: Request) -> JSONResponse:
    """The models are loaded and the index can be searched."""
    if not request.app.state.ready:
        return JSONResponse({"status": "not ready"}, 503)
    request.app.state.searches.require_index()
    request.app.state.index.pages(["00000000-0000-0000-0000-000000000000"])  # raises if the store is down
    return JSONResponse({"status": "ready"})


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(request: Request) -> Response:
    """Metrics for Prometheus."""
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)
