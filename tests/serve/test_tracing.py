"""Spans of searches and uploads, and the metrics that go with them."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from docrag import Index
from docrag.serve.app import create_app
from docrag.serve.settings import ServeSettings
from tests.serve.conftest import HERE
from tests.serve.uploading import make_pdf, upload, wait_for_job

SECRET = "whisperedwords"


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """Collects the spans of this process; OpenTelemetry accepts only one provider."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    """The exporter without the spans of earlier tests."""
    exporter.clear()
    return exporter


def test_a_search_is_a_span_without_its_query(spans, demo_index: Index):
    client = TestClient(create_app(demo_index, ServeSettings(source="manuals")), base_url=HERE)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    request = {"query": f"water {SECRET}", "k": 2, "mode": "late"}
    hits = client.post("/v1/search", json=request, headers={"traceparent": parent}).json()["hits"]
    (span,) = spans.get_finished_spans()
    assert span.name == "retrieval manuals"
    assert span.kind is trace.SpanKind.CLIENT
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    attributes = dict(span.attributes)
    assert attributes == {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": "manuals",
        "gen_ai.request.model": demo_index.fingerprint["late"]["model"],
        "gen_ai.request.top_k": 2,
        "docrag.mode": "late",
        "docrag.hits": len(hits),
    }
    assert client.post("/v1/search", json={"query": SECRET, "filter": {"page": SECRET}}).status_code == 400
    assert SECRET not in "".join(span.to_json() for span in spans.get_finished_spans())


def test_a_span_has_the_query_if_the_settings_say_so(spans, demo_index: Index):
    client = TestClient(create_app(demo_index, ServeSettings(trace_queries=True)), base_url=HERE)
    hits = client.post("/v1/search", json={"query": SECRET, "k": 1}).json()["hits"]
    (span,) = spans.get_finished_spans()
    assert span.attributes["gen_ai.retrieval.query.text"] == SECRET
    assert [entry.split()[0] for entry in span.attributes["gen_ai.retrieval.documents"]] == [
        hit["page_id"] for hit in hits
    ]


@pytest.mark.slow
def test_an_upload_is_a_span_and_is_counted(spans, started, tmp_path):
    client = started()
    wait_for_job(
        client,
        upload(client, ("a.pdf", make_pdf(tmp_path, "one", "two")), ("b.pdf", b"%PDF-broken")).json()["job"],
    )
    (span,) = [span for span in spans.get_finished_spans() if span.name.startswith("ingest ")]
    assert span.attributes["docrag.pages"] == 2
    metrics = client.get("/metrics").text.splitlines()
    assert 'docrag_ingest_pages_total{status="added"} 2.0' in metrics
    assert 'docrag_ingest_documents_total{status="failed"} 1.0' in metrics
    assert "docrag_ingest_seconds_count 1.0" in metrics
    assert "docrag_render_seconds_count 2.0" in metrics  # one for each page
    model = client.app.state.index.fingerprint["late"]["model"]
    assert f'docrag_embed_seconds_count{{model="{model}"}} 1.0' in metrics  # both in one batch


def test_searches_of_the_page_are_measured_like_those_of_the_api(spans, demo_index: Index):
    client = TestClient(create_app(demo_index), base_url=HERE)
    hits = client.post("/v1/search", json={"query": "water", "k": 3}).json()["hits"]
    client.get("/?q=water&k=3")  # the same search: it comes from the cache, and no stage runs again
    client.get("/results?q=water&k=3&mode=text", headers={"HX-Request": "true"})
    client.get(f"/page/{hits[0]['page_id']}?q=snow")  # searches for what matches on this page
    client.get(f"/page/{hits[0]['page_id']}?q=water")  # was found by the first search: nothing is searched
    metrics = client.get("/metrics").text.splitlines()
    for stage, times in {"all": 4.0, "encode": 3.0, "retrieve": 3.0, "regions": 3.0}.items():
        assert f'docrag_search_seconds_count{{stage="{stage}"}} {times}' in metrics
    assert "docrag_search_hits_count 4.0" in metrics
    model = demo_index.fingerprint["late"]["model"]
    assert f'docrag_embed_seconds_count{{model="{model}"}} 3.0' in metrics
    modes = [span.attributes["docrag.mode"] for span in spans.get_finished_spans()]
    assert modes == ["hybrid", "hybrid", "text", "late"]
