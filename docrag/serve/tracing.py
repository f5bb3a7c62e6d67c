"""Spans through OpenTelemetry's API. They are dropped unless the process sets up the OpenTelemetry SDK."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind

from docrag.serve.settings import ServeSettings
from docrag.types import Hit

# OpenTelemetry's conventions for generative AI are still in development, so their names stand only here.
OPERATION = "gen_ai.operation.name"
DATA_SOURCE = "gen_ai.data_source.id"
MODEL = "gen_ai.request.model"
TOP_K = "gen_ai.request.top_k"
QUERY = "gen_ai.retrieval.query.text"
DOCUMENTS = "gen_ai.retrieval.documents"
MODE = "docrag.mode"
HITS = "docrag.hits"
PAGES = "docrag.pages"
FILES = "docrag.files"

FASTAPI_TELEMETRY: Any = {"tracing": False, "operation_spans": False, "logs": False}
"""Switches off the spans of FastAPI (0.165 and later): they hold the whole address, and so the query."""


class RetrievalSpan:
    """The span of one search."""

    def __init__(self, span: trace.Span, settings: ServeSettings) -> None:
        self._span = span
        self._trace_queries = settings.trace_queries

    def record(self, query: str, hits: Sequence[Hit]) -> None:
        """Record the hits of the search; the query and the ids of pages only if the settings allow it."""
        self._span.set_attribute(HITS, len(hits))
        if self._trace_queries:
            self._span.set_attribute(QUERY, query)
            self._span.set_attribute(DOCUMENTS, [f"{hit.page_id} {hit.score:.6f}" for hit in hits])


@contextmanager
def retrieval_span(
    settings: ServeSettings, headers: Mapping[str, str], model: str, mode: str, k: int
) -> Iterator[RetrievalSpan]:
    """A span around a search, a child of the caller's span if the request names one.

    Args:
        settings: Whether queries are traced.
        headers: Headers of the request.
        model: The late-interaction encoder.
        mode: Search mode.
        k: Number of pages that were requested.
    """
    attributes: dict[str, str | int] = {
        OPERATION: "retrieval",
        DATA_SOURCE: settings.source,
        MODEL: model,
        TOP_K: k,
        MODE: mode,
    }
    tracer = trace.get_tracer("docrag.serve")
    with tracer.start_as_current_span(
        f"retrieval {settings.source}",
        context=propagate.extract(headers),
        kind=SpanKind.CLIENT,
        attributes=attributes,
        record_exception=settings.trace_queries,  # the text of an exception may hold the query
        set_status_on_exception=settings.trace_queries,
    ) as span:
        yield RetrievalSpan(span, settings)


@contextmanager
def ingest_span(settings: ServeSettings, files: int) -> Iterator[trace.Span]:
    """A span around the ingest of an upload."""
    tracer = trace.get_tracer("docrag.serve")
    attributes: dict[str, str | int] = {OPERATION: "ingest", DATA_SOURCE: settings.source, FILES: files}
    with tracer.start_as_current_span(f"ingest {settings.source}", attributes=attributes) as span:
        yield span
