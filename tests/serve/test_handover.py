"""How other commands find a running server."""

from __future__ import annotations

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from docrag.serve.handover import NOTICE, advertised, find_holder


def test_a_notice_that_leads_to_another_server_is_not_followed(tmp_path: Path):
    requests = []

    class OtherServer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append((self.path, self.headers.get("Authorization")))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status": "ok", "run": "another run"}')

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), OtherServer) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{other.server_port}"
        with advertised(tmp_path, url, "this run", "token"), find_holder(tmp_path) as holder:
            assert holder is None
        with advertised(tmp_path, url, "another run", "token"), find_holder(tmp_path) as holder:
            assert holder is not None
        other.shutdown()
        thread.join()
    assert requests == [("/healthz", None)] * 2  # the token was not sent


def test_a_notice_that_leads_to_another_machine_is_not_followed(tmp_path: Path, monkeypatch):
    requests = []
    monkeypatch.setattr(httpx, "get", lambda url, **_: requests.append(url))
    for url in ("http://192.0.2.1:8000", "http://search.example", "http://[2001:db8::1]:80", "http://"):
        with advertised(tmp_path, url, "run", "token"), find_holder(tmp_path) as holder:
            assert holder is None
    assert not requests


def test_the_notice_of_the_next_server_is_not_removed(tmp_path: Path):
    with advertised(tmp_path, "http://127.0.0.1:1", "first", ""):
        next_one = advertised(tmp_path, "http://127.0.0.1:2", "next", "")
        next_one.__enter__()
    assert json.loads((tmp_path / NOTICE).read_text())["run"] == "next"
    next_one.__exit__(None, None, None)
    assert not (tmp_path / NOTICE).exists()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"url": 1}', '{"url": "nonsense", "run": "a", "token": ""}']
)
def test_a_broken_notice_is_ignored(tmp_path: Path, content: str):
    (tmp_path / NOTICE).write_text(content)
    with find_holder(tmp_path) as holder:
        assert holder is None


def test_finding_a_server_is_logged_without_its_token(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="docrag.serve")
    with advertised(tmp_path, "http://127.0.0.1:1", "run", "secret token"), find_holder(tmp_path) as holder:
        assert holder is None
    assert "other commands find the server at http://127.0.0.1:1" in caplog.text
    assert "its server is not running" in caplog.text
    assert "secret token" not in caplog.text
