"""Limits on request bodies."""

from __future__ import annotations

import time

import anyio
import pytest
from fastapi.testclient import TestClient

from docrag import Index
from docrag.serve.app import create_app
from docrag.serve.settings import ServeSettings
from tests.serve.conftest import HERE, KEY


@pytest.fixture(scope="module")
def keyed(demo_index: Index) -> TestClient:
    """A client of a server with a key."""
    return TestClient(create_app(demo_index, ServeSettings(api_key=KEY)), base_url=HERE)


@pytest.mark.parametrize("path", ["/login", "/by-image", "/v1/ingest"])
@pytest.mark.parametrize("charset", ["unicode_escape", "punycode", "undefined"])
def test_a_form_with_another_charset_is_refused(keyed: TestClient, path: str, charset: str):
    body = b'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\n\\ud800 \xff\r\n--x--\r\n'
    kind = f"multipart/form-data; boundary=x; charset={charset}"
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": kind}
    response = keyed.post(path, content=body, headers=headers)
    assert (response.status_code, "UTF-8" in response.json()["error"]["hint"]) == (415, True)
    plain = keyed.post(path, content=body, headers=headers | {"Content-Type": kind.partition("; charset")[0]})
    assert plain.status_code in (400, 401, 403, 422)


def test_a_slow_body_is_refused(demo_index: Index):

    app = create_app(demo_index, ServeSettings(body_timeout=0.3))

    async def receive():
        await anyio.sleep(3600)

    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/search",
        "raw_path": b"/v1/search",
        "query_string": b"",
        "headers": [
            (b"host", b"127.0.0.1"),
            (b"content-type", b"application/json"),
            (b"content-length", b"9"),
        ],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }
    started = time.monotonic()
    anyio.run(app, scope, receive, send)
    assert time.monotonic() - started < 5
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


def test_a_large_body_is_refused_with_or_without_content_length(demo_index: Index):
    client = TestClient(create_app(demo_index, ServeSettings(max_body_bytes=10_000)), base_url=HERE)
    headers = {"Content-Type": "application/json"}

    def endless():
        yield b'{"query": "'
        for _ in range(10_000):
            yield b"x" * 1000

    for content in (b" " * 10_001, endless()):
        response = client.post("/v1/search", content=content, headers=headers)
        assert response.status_code == 413
        assert response.json()["error"]["hint"]
