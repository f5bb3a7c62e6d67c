"""A person at the search page: Chromium without a window, and the server that people start."""

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
        const told = { dataTransfer, bubbles: true, cancelable: true };
        document.body.dispatchEvent(new DragEvent(kind, told));
    }
}"""
ULTA = SHARED / "smoke" / "pdfs" / "ULTABEAUTY_2023Q4_EARNINGS.pdf"


class Visitor:
    """A tab of the browser that remembers what it asked for and what it complained about."""

    def __init__(self, tab: Any, home: str) -> None:
        self.tab = tab
        self.home = home
        self.hosts: set[str] = set()
        self.complaints: list[str] = []
        tab.set_default_timeout(15_000)
        tab.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        tab.on("console", lambda told: told.type == "error" and self.complaints.append(told.text))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))

    def ask(self, question: str) -> None:
        """Ask, and do not wait."""
        self.tab.fill("#q", question)
        self.tab.press("#q", "Enter")

    def search(self, question: str) -> None:
        """Ask, and wait for the answer."""
        self.ask(question)
        self.answered(question)

    def answered(self, question: str) -> None:
        """Wait until the page shows the answer to a question."""
        there = "asked => document.title.startsWith(asked) && !document.querySelector('.htmx-request')"
        self.tab.wait_for_function(there, arg=question)
        self.tab.wait_for_selector(".told")

    def open_first(self) -> None:
        self.tab.locator(".hit .open").first.click()
        self.tab.wait_for_selector(".reader")

    def drop(self, address: str, name: str, type: str) -> None:
        """Drop what stands at an address of the server as a file."""
        self.tab.evaluate(DROP, [address, name, type])

    def files(self) -> list[str]:
        return self.tab.locator(".hit .file").all_inner_texts()

    def is_wide(self) -> bool:
        """Whether it scrolls sideways."""
        return self.tab.evaluate("document.documentElement.scrollWidth > innerWidth")


@contextmanager
def serving(index: Index, **settings: Any) -> Iterator[str]:
    """A server over an index, which it closes; gives its address."""
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
