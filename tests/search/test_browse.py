"""Reading what an index holds, without a query."""

from __future__ import annotations

from dataclasses import fields

import pytest

from docrag.demo import documents
from docrag.errors import NotFound
from docrag.search.browse import documents as indexed_documents
from docrag.types import IndexedPage, page_id


def test_documents_are_told_with_their_pages(demo_index):
    told = demo_index.documents()
    assert [document.file for document in told] == sorted(str(path) for path in documents().glob("*.pdf"))
    assert sum(document.pages for document in told) == demo_index.status().pages
    assert all(document.pages == document.total_pages and document.title for document in told)


def test_a_document_whose_first_page_is_lost_is_told_too(demo_index):
    class WithoutFirstPages:
        """A store that has lost the first page of every document."""

        def __init__(self, store):
            self.facet, self.scroll, self._store = store.facet, store.scroll, store

        def retrieve(self, ids, **wanted):
            return []

    store = demo_index._storage.store
    assert indexed_documents(WithoutFirstPages(store)) == indexed_documents(store)


def test_pages_come_in_the_order_of_their_ids_and_say_what_hits_say(demo_index):
    hits = demo_index.search("ferry", k=3)
    pages = demo_index.pages([hit.page_id for hit in reversed(hits)])
    for page, hit in zip(pages, reversed(hits), strict=True):
        assert all(getattr(page, field.name) == getattr(hit, field.name) for field in fields(IndexedPage))
    assert "\n".join(block.text for block in pages[0].blocks) in pages[0].text


def test_the_next_page_is_found_by_its_number(demo_index):
    first = next(document for document in demo_index.documents() if document.pages > 1)
    second = demo_index.page(page_id(first.id, 2))
    assert (second.document_id, second.page, second.file) == (first.id, 2, first.file)
    assert second.image_url.endswith(f"/{first.id}/2.jpg")


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "x" * 10000, "0" * 32, page_id("ab" * 32, 1)])
def test_what_is_no_page_of_the_index_is_not_found(demo_index, name):
    assert demo_index.pages([name]) == []
    with pytest.raises(NotFound, match="hit"):
        demo_index.page(name)
