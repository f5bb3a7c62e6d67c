"""What tests look for in the pages."""

from __future__ import annotations

from html.parser import HTMLParser

from fastapi.testclient import TestClient

from docrag import demo
from docrag.serve.search_form import SearchForm
from docrag.types import page_id

QUESTION = demo.QUESTIONS[0]
PARTIAL = {"HX-Request": "true"}
"""Headers with which htmx asks for a part of a page."""
HOSTILE = "<img src=x onerror=alert(1)>\"'&{{7*7}}"


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str, css_class: str = "") -> list[dict[str, str]]:
        """Attributes of all elements with a tag and, if one is given, a CSS class."""
        matching = [attributes for name, attributes in self.elements if name == tag]
        return [
            attributes
            for attributes in matching
            if not css_class or css_class in attributes.get("class", "").split()
        ]


def page_url(client: TestClient, number: int, **fields: str) -> str:
    """The address of a page of the document that answers the demo's first question."""
    documents = client.app.state.index.documents()
    document = next(document for document in documents if document.file.endswith(QUESTION.file))
    return SearchForm(**fields).url(f"/page/{page_id(document.id, number)}")
