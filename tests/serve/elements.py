"""What tests look for in the pages."""

from __future__ import annotations

from html.parser import HTMLParser

from fastapi.testclient import TestClient

from docrag import demo
from docrag.serve.search_form import SearchForm
from docrag.types import page_id

QUESTION = demo.QUESTIONS[0]
PARTS = {"HX-Request": "true"}
HOSTILE = "<img src=x onerror=alert(1)>\"'&{{7*7}}"


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the texts within."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attributes}))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str, kind: str = "") -> list[dict[str, str]]:
        """Attributes of the elements of a kind."""
        found = [given for name, given in self.found if name == tag]
        return [given for given in found if not kind or kind in given.get("class", "").split()]


def page_url(client: TestClient, number: int, **asked: str) -> str:
    document = next(one for one in client.app.state.index.documents() if one.file.endswith(QUESTION.file))
    return SearchForm(**asked).url(f"/page/{page_id(document.id, number)}")
