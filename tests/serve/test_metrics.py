"""Metrics, and the middleware around all requests."""

from __future__ import annotations

import anyio
import pytest
from fastapi.testclient import TestClient

from docrag import Index
from docrag.serve.app import create_app
from docrag.serve.settings import ServeSettings
from tests.serve.conftest import HERE, KEY

SECRET = "whisperedwords"


def test_metrics_count_searches_and_requests_by_route(demo_index: Index):
    client = TestClient(create_app(demo_index), base_url=HERE)
    for n in range(3):
        client.post("/v1/search", json={"query": f"water {n}", "k": 2})
    client.get(f"/v1/pages/{'0' * 8}-0000-0000-0000-{'0' * 12}")
    client.get(f"/{SECRET}")
    client.request("SECRETMETHOD", "/")
    text = client.get("/metrics").text
    lines = text.splitlines()
    assert 'docrag_search_seconds_count{stage="all"} 3.0' in lines
    assert "docrag_search_hits_sum 6.0" in lines
    assert 'docrag_http_requests_total{method="POST",route="/v1/search",status="200"} 3.0' in lines
    assert 'docrag_http_requests_total{method="GET",route="/v1/pages/{page_id}",status="404"} 1.0' in lines
    assert 'docrag_http_requests_total{method="GET",route="other",status="404"} 1.0' in lines
    assert SECRET not in text
    assert "SECRETMETHOD" not in text


@pytest.mark.parametrize("path", ["/by-image", "/v1/search", "/login"])
def test_a_client_that_disconnects_is_not_a_failure(demo_index: Index, path: str, caplog):

    app = create_app(demo_index, ServeSettings(api_key=KEY))
    sent = []
    incoming = [{"type": "http.request", "body": b"--x\r\n", "more_body": True}, {"type": "http.disconnect"}]

    async def receive():
        return incoming.pop(0)

    async def send(message):
        sent.append(message)

    headers = {
        "host": "127.0.0.1",
        "authorization": f"Bearer {KEY}",
        "content-type": "multipart/form-data; boundary=x" if path != "/v1/search" else "application/json",
    }
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    anyio.run(app, scope, receive, send)
    assert not incoming
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert all(message.get("status", 400) == 400 for message in sent)
