"""Page images in Qdrant's dashboard are shown to a browser that has logged in, as docker/README.md says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from docrag import Index
from docrag.store.page_address import PageAddresses
from tests.docker.compose import KEYS
from tests.samples import FERRY, write_pdf
from tests.serve.browser.visitor import CHROMIUM, serving

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine: apt-get install chromium"),
    pytest.mark.allow_hosts(["127.0.0.1"]),
]


@contextmanager
def dashboard(image_url: str) -> Iterator[int]:
    """A page on another port that embeds an image by its address, as the dashboard does; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = f"<!doctype html><title>dashboard</title><img src='{image_url}'>".encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def shown(tab: Any, host: str, port: int) -> bool:
    """Whether the dashboard at a host shows the image."""
    tab.goto(f"http://{host}:{port}/", wait_until="load")
    return bool(tab.evaluate("document.querySelector('img').naturalWidth"))


@pytest.mark.slow
def test_the_dashboard_shows_page_images_after_a_login(tmp_path: Path):
    write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY)
    index = Index.open(tmp_path / "index")
    index.ingest(tmp_path / "docs")
    [document] = index.documents()
    with (
        serving(index, host="0.0.0.0", api_key=KEYS["DOCRAG_SERVE_KEY"]) as docrag,
        dashboard(PageAddresses(docrag, "index").of(document.id, 1)) as port,
        playwright.sync_playwright() as started,
    ):
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page()
        assert not shown(tab, "127.0.0.1", port)
        tab.goto(docrag)
        tab.fill("#key", KEYS["DOCRAG_SERVE_KEY"])
        tab.click("button")
        tab.wait_for_selector("#q")
        assert shown(tab, "127.0.0.1", port)
        assert not shown(tab, "localhost", port)  # the same machine, but another site to a browser
        browser.close()
