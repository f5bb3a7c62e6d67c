"""A visitor of the search page: headless Chromium, and a server to visit."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn

from docrag import Index, demo
from docrag.serve.app import create_app
from docrag.serve.settings import ServeSettings
from tests.conftest import SHARED

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
IN_CHROMIUM = [
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine: apt-get install chromium"),
    pytest.mark.allow_hosts(["127.0.0.1"]),
]
CATERING, SCAN, LAMP = demo.QUESTIONS
DROP = """async ([address, name, type]) => {
    const content = await (await fetch(address)).blob();
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([content], name, { type }));
    for (const kind of ["dragenter", "dragover", "drop"]) {
        const options = { dataTransfer, bubbles: true, cancelable: true };
        document.body.dispatchEvent(new DragEvent(kind, options));
    }
}"""
ULTA = SHARED / "smoke" / "pdfs" / "ULTABEAUTY_2023Q4_EARNINGS.pdf"


class Visitor:
    """A tab of the browser that records the hosts of its requests and its errors."""

    def __init__(self, tab: Any, home: str) -> None:
        self.tab = tab
        self.home = home
        self.hosts: set[str] = set()
        self.errors: list[str] = []
        tab.set_default_timeout(15_000)
        tab.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        tab.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        tab.on("pageerror", lambda error: self.errors.append(str(error)))

    def ask(self, question: str) -> None:
        """Submit a question, without waiting for its results."""
        self.tab.fill("#q", question)
        self.tab.press("#q", "Enter")

    def search(self, question: str) -> None:
        """Submit a question, and wait for its results."""
        self.ask(question)
        self.wait_for_results(question)

    def wait_for_results(self, question: str) -> None:
        """Wait until the page shows the results of a question."""
        shown = "question => document.title.startsWith(question) && !document.querySelector('.htmx-request')"
        self.tab.wait_for_function(shown, arg=question)
        self.tab.wait_for_selector(".results .summary")

    def open_first(self) -> None:
        self.tab.locator(".hit .open").first.click()
        self.tab.wait_for_selector(".reader")

    def drop(self, address: str, name: str, type: str) -> None:
        """Fetch an address of the server, and drop its content on the page as a file."""
        self.tab.evaluate(DROP, [address, name, type])

    def files(self) -> list[str]:
        return self.tab.locator(".hit .file").all_inner_texts()

    def scrolls_sideways(self) -> bool:
        """Whether the page is wider than the window."""
        return self.tab.evaluate("document.documentElement.scrollWidth > innerWidth")


@contextmanager
def serving(index: Index, **settings: Any) -> Iterator[str]:
    """Run a server over an index, which it closes, and yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        app = create_app(index, ServeSettings(port=port, **settings))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join()
