"""Servers to visit, and the browser to visit them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from docrag import Index
from docrag.settings import load_settings
from tests.samples import copy_index, make_image
from tests.serve.browser.visitor import CHROMIUM, ULTA, Visitor, serving


@pytest.fixture(scope="session")
def reports(demo_copy: Callable[[], Path]) -> Path:
    """An index of the demo's documents and, if there is one, a real report; only copies of it are opened."""
    folder = demo_copy()
    if ULTA.is_file():
        with Index.open(folder, create=False) as index:
            assert not index.ingest(ULTA).failures
    return folder


@pytest.fixture(scope="module")
def home(reports: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server over a copy of the reports."""
    folder = copy_index(reports, tmp_path_factory.mktemp("home") / "index")
    with serving(Index.open(folder, create=False), allow_ingest=True, folder=folder) as address:
        yield address


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory, checkpoint) -> Iterator[str]:
    """The address of a server over images without words, embedded by tiny models with random weights."""
    folder = tmp_path_factory.mktemp("gallery")
    for number in range(5):
        make_image(number, 600, 800).save(folder / f"picture {number}.png")
    settings = load_settings(late=checkpoint("colqwen2"), image=checkpoint("clip"), ocr=False)
    index = Index.open(folder / "index", settings=settings)
    assert not index.ingest(folder).failures
    with serving(index, allow_ingest=True, folder=folder / "index") as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any, home: str) -> Iterator[Callable[..., Visitor]]:
    """Opens the search page; afterwards no tab may have had an error or contacted another host."""
    visitors: list[Visitor] = []

    def open_tab(
        path: str = "/", width: int = 1280, height: int = 800, at: str = home, **options: Any
    ) -> Visitor:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        visitor = Visitor(context.new_page(), at)
        visitors.append(visitor)
        visitor.tab.goto(at + path)
        return visitor

    yield open_tab
    for visitor in visitors:
        visitor.tab.context.close()
        assert visitor.errors == []
        assert visitor.hosts == {urlsplit(visitor.home).netloc}
