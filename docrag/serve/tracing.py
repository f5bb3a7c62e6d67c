"""Spans by OpenTelemetry's API: nothing happens unless the process sets up its SDK."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind

from docrag.serve.settings import ServeSettings
from docrag.types import Hit

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
"""The conventions for generative AI are all in development: their names stand here and nowhere else."""

FRAMEWORK: Any = {"tracing": False, "operation_spans": False, "logs": False}
"""What FastAPI (0.165 and later) leaves out: its spans hold the whole address, and so what was asked."""


class Retrieval:
    """The span of one search."""

    def __init__(self, span: trace.Span, settings: ServeSettings) -> None:
        self._span = span
        self._open = settings.trace_queries

    def found(self, query: str, hits: Sequence[Hit]) -> None:
        """Note what was found; ids and words only where the settings allow it."""
        self._span.set_attribute(HITS, len(hits))
        if self._open:
            self._span.set_attribute(QUERY, query)
            self._span.set_attribute(DOCUMENTS, [f"{hit.page_id} {hit.score:.6f}" for hit in hits])


@contextmanager
def retrieval(
    settings: ServeSettings, headers: Mapping[str, str], model: str, mode: str, k: int
) -> Iterator[Retrieval]:
    """A span around a search, the child of the caller's where the request names one.

    Args:
        settings: Say whether queries are traced.
        headers: Of the request.
        model: The late-interaction encoder.
        mode: Of the search.
        k: Pages asked for.
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
        record_exception=settings.trace_queries,  # an exception's text may name what was asked
        set_status_on_exception=settings.trace_queries,
    ) as span:
        yield Retrieval(span, settings)


@contextmanager
def ingestion(settings: ServeSettings, files: int) -> Iterator[trace.Span]:
    """A span around the ingest of an upload."""
    tracer = trace.get_tracer("docrag.serve")
    attributes: dict[str, str | int] = {OPERATION: "ingest", DATA_SOURCE: settings.source, FILES: files}
    with tracer.start_as_current_span(f"ingest {settings.source}", attributes=attributes) as span:
        yield span
