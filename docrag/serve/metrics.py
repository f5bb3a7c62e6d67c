"""Metrics for Prometheus, and the middleware that measures every request."""

from __future__ import annotations

import logging
import time
from functools import partial

import anyio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from docrag.serve.errors import INTERNAL_ERROR, INTERNAL_ERROR_HINT, error_response
from docrag.serve.security import HEADERS

logger = logging.getLogger(__name__)
access_log = logging.getLogger("docrag.serve.access")

SECONDS_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
INGEST_SECONDS_BUCKETS = (1, 5, 15, 60, 300, 900, 3600)
HITS_BUCKETS = (0, 1, 5, 10, 50, 100, 1000)
METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"})
"""Methods that become a label; all others are counted as "other", so that nobody can make up labels."""


class Metrics:
    """The metrics of one application. No label holds an id, a file name or a query."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        seconds = partial(Histogram, registry=registry, buckets=SECONDS_BUCKETS)
        counter = partial(Counter, registry=registry)
        self.search_seconds = seconds(
            "docrag_search_seconds",
            "Duration of searches: whole (all), and of their stages encode, retrieve and regions.",
            ["stage"],
        )
        self.search_hits = Histogram(
            "docrag_search_hits", "Pages found by a search.", registry=registry, buckets=HITS_BUCKETS
        )
        self.embed_seconds = seconds(
            "docrag_embed_seconds", "Time to embed a batch of pages or a query, by model.", ["model"]
        )
        self.render_seconds = seconds("docrag_render_seconds", "Time to render the image of one page.")
        self.ingest_pages = counter("docrag_ingest_pages", "Pages of uploaded documents.", ["status"])
        self.ingest_documents = counter("docrag_ingest_documents", "Uploaded documents.", ["status"])
        self.ingest_seconds = seconds(
            "docrag_ingest_seconds",
            "Duration of the ingest of an upload, without the time it waited.",
            buckets=INGEST_SECONDS_BUCKETS,
        )
        self.requests = counter("docrag_http_requests", "Requests.", ["method", "route", "status"])
        self.request_seconds = seconds(
            "docrag_http_request_seconds", "Duration of requests, to the end of the response.", ["route"]
        )
        self.in_progress = 0
        """Requests that are being handled; only the event loop changes it."""
        gauge = Gauge("docrag_http_requests_under_way", "Requests that are being handled.", registry=registry)
        gauge.set_function(lambda: self.in_progress)

    def observe_stage(self, stage: str, model: str, seconds: float) -> None:
        """Record how long a stage of a search or an ingest took, as `docrag.common.timing` reports it."""
        if stage == "embed":
            self.embed_seconds.labels(model).observe(seconds)
        elif stage == "render":
            self.render_seconds.observe(seconds)
        else:
            self.search_seconds.labels(stage).observe(seconds)

    async def wait_until_idle(self) -> None:
        """Wait until no request is in progress: a thread may still search for a client that has gone."""
        while self.in_progress:
            await anyio.sleep(0.05)


class RequestObserver:
    """The outermost ASGI middleware: measures and logs requests, and catches what no handler caught.

    Requests are logged without their query string.

    Args:
        app: The application behind it.
        metrics: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0
        started = time.perf_counter()

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        self._metrics.in_progress += 1
        try:
            await self._app(scope, receive, send_and_note_status)
        except ClientDisconnect:  # in the middle of its request: nobody waits for a response
            pass
        except Exception:
            logger.exception("%s %a failed", scope["method"], scope["path"])
            if not status:
                response = error_response(500, INTERNAL_ERROR, INTERNAL_ERROR_HINT, HEADERS)
                await response(scope, receive, send_and_note_status)
        finally:
            self._metrics.in_progress -= 1
            self._record(scope, status, time.perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        access_log.info("%s %s %d %.0f ms", method, ascii(scope["path"])[1:-1], status, seconds * 1000)
