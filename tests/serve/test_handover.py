"""How other commands find a running server."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from docrag.serve.handover import NOTICE, advertised, find_holder


def test_a_notice_of_another_server_is_not_believed(tmp_path: Path):
    asked = []

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status": "ok", "run": "of another"}')

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{other.server_port}"
        with advertised(tmp_path, url, "of this one", "token"), find_holder(tmp_path) as holder:
            assert holder is None
        with advertised(tmp_path, url, "of another", "token"), find_holder(tmp_path) as holder:
            assert holder is not None
        other.shutdown()
        thread.join()
    assert asked == [("/healthz", None)] * 2  # the token went nowhere


def test_a_notice_that_leads_to_another_machine_is_not_followed(tmp_path: Path, monkeypatch):
    asked = []
    monkeypatch.setattr(httpx, "get", lambda url, **_: asked.append(url))
    for url in ("http://192.0.2.1:8000", "http://search.example", "http://[2001:db8::1]:80", "http://"):
        with advertised(tmp_path, url, "run", "token"), find_holder(tmp_path) as holder:
            assert holder is None
    assert not asked


def test_the_notice_of_the_next_server_stays(tmp_path: Path):
    with advertised(tmp_path, "http://127.0.0.1:1", "first", ""):
        next_one = advertised(tmp_path, "http://127.0.0.1:2", "next", "")
        next_one.__enter__()
    assert json.loads((tmp_path / NOTICE).read_text())["run"] == "next"
    next_one.__exit__(None, None, None)
    assert not (tmp_path / NOTICE).exists()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"url": 1}', '{"url": "nonsense", "run": "a", "token": ""}']
)
def test_a_broken_notice_is_none(tmp_path: Path, content: str):
    (tmp_path / NOTICE).write_text(content)
    with find_holder(tmp_path) as holder:
        assert holder is None
