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


@pytest.mark.parametrize("path", ["/login", "/by-image", "/v1/ingest"])
@pytest.mark.parametrize("letters", ["unicode_escape", "punycode", "undefined"])
def test_a_form_in_odd_letters_is_refused(keyed: TestClient, path: str, letters: str):
    body = b'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\n\\ud800 \xff\r\n--x--\r\n'
    kind = f"multipart/form-data; boundary=x; charset={letters}"
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": kind}
    answer = keyed.post(path, content=body, headers=headers)
    assert (answer.status_code, "UTF-8" in answer.json()["error"]["hint"]) == (415, True)
    plain = keyed.post(path, content=body, headers=headers | {"Content-Type": kind.partition("; charset")[0]})
    assert plain.status_code in (400, 401, 403, 422)


def test_a_slow_body_is_given_up(demo_index: Index):
    import anyio

    app = create_app(demo_index, ServeSettings(body_seconds=0.3))

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


def test_a_large_body_is_refused_whatever_it_says_of_its_length(demo_index: Index):
    client = TestClient(create_app(demo_index, ServeSettings(most_body=10_000)), base_url=HERE)
    headers = {"Content-Type": "application/json"}

    def endless():
        yield b'{"query": "'
        for _ in range(10_000):
            yield b"x" * 1000

    for content in (b" " * 10_001, endless()):
        answer = client.post("/v1/search", content=content, headers=headers)
        assert answer.status_code == 413
        assert answer.json()["error"]["hint"]
