"""What a server tells Prometheus, and a middleware that sees every request come and go."""

from __future__ import annotations

import logging
import time
from functools import partial

import anyio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from docrag.serve.errors import FAILED, error_answer
from docrag.serve.security import HEADERS

logger = logging.getLogger(__name__)
access_log = logging.getLogger("docrag.serve.access")

LONG = (1, 5, 15, 60, 300, 900, 3600)
COUNTS = (0, 1, 5, 10, 50, 100, 1000)
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The figures of one application; no label holds an id, a file or a query."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        seconds = partial(Histogram, registry=registry, buckets=SECONDS)
        counter = partial(Counter, registry=registry)
        self.search_seconds = seconds(
            "docrag_search_seconds", "Searches: all, and their stages encode, retrieve, regions.", ["stage"]
        )
        self.search_hits = Histogram(
            "docrag_search_hits", "Pages found by a search.", registry=registry, buckets=COUNTS
        )
        self.embed_seconds = seconds(
            "docrag_embed_seconds", "Batches of pages, and queries, through a model.", ["model"]
        )
        self.render_seconds = seconds("docrag_render_seconds", "Pictures of pages, of each its own.")
        self.ingest_pages = counter("docrag_ingest_pages", "Pages of uploaded documents.", ["status"])
        self.ingest_documents = counter("docrag_ingest_documents", "Uploaded documents.", ["status"])
        self.ingest_seconds = seconds(
            "docrag_ingest_seconds", "Uploads, from their turn to their end.", buckets=LONG
        )
        self.requests = counter("docrag_http_requests", "Requests.", ["method", "route", "status"])
        self.request_seconds = seconds(
            "docrag_http_request_seconds", "Requests, to the end of the answer.", ["route"]
        )
        self.under_way = 0
        """Requests that are being answered; changed by the event loop alone."""
        gauge = Gauge("docrag_http_requests_under_way", "Requests being answered.", registry=registry)
        gauge.set_function(lambda: self.under_way)

    def stage(self, stage: str, model: str, seconds: float) -> None:
        """Hear how long a stage took, as `docrag.common.timing` tells it; of a search, or of an ingest."""
        if stage == "embed":
            self.embed_seconds.labels(model).observe(seconds)
        elif stage == "render":
            self.render_seconds.observe(seconds)
        else:
            self.search_seconds.labels(stage).observe(seconds)

    async def idle(self) -> None:
        """Wait until no request is under way: a thread may still search for one that was given up."""
        while self.under_way:
            await anyio.sleep(0.05)


METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"})


class Watch:
    """ASGI middleware, the outermost: counts, logs without the query, and lets no exception out.

    Args:
        app: Gets every request.
        metrics: Is told of each.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = 0, time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        self._metrics.under_way += 1
        try:
            await self._app(scope, receive, noting)
        except ClientDisconnect:  # gone within its request: nobody to answer, and nothing failed here
            pass
        except Exception:
            logger.exception("%s %a failed", scope["method"], scope["path"])
            if not status:
                await error_answer(500, *FAILED, HEADERS)(scope, receive, noting)
        finally:
            self._metrics.under_way -= 1
            self._note(scope, status, time.perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        access_log.info("%s %s %d %.0f ms", method, ascii(scope["path"])[1:-1], status, seconds * 1000)
