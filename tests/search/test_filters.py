from __future__ import annotations

from pathlib import Path

import pytest

from docrag import Index
from docrag.errors import QueryError
from docrag.search.filters import AnyOf, Between, Filter, Is, Not


@pytest.mark.parametrize(
    "filter",
    [
        {"filename": "a.pdf"},
        {"file_name": "tarn12_manual.pdf", "filename": "a.pdf"},
        AnyOf((Is("filename", ("a.pdf",)), Is("file_name", ("none.pdf",)))),
        Between(key="filename", gt=3),
    ],
)
def test_a_field_that_no_page_has_is_named_with_those_there_are(demo_index: Index, filter: Filter):
    with pytest.raises(QueryError, match="filter filename: no page has such a field") as caught:
        demo_index.search("lamp", filter=filter)
    assert "file_name" in caught.value.hint


@pytest.mark.parametrize("name", ["source", "file_path", "page", "page_number", "page_label", "title"])
def test_a_value_that_no_page_has_finds_nothing(demo_index: Index, name: str):
    assert demo_index.search("lamp", filter={name: "98765"}) == []


def test_what_is_not_so_holds_of_a_field_that_is_not_there(demo_index: Index):
    assert demo_index.search("lamp", 2, filter=Not(Is("filename", ("a.pdf",))))


def test_an_empty_index_finds_nothing(tmp_path: Path):
    with Index.open(tmp_path / "index") as index:
        assert index.search("lamp", filter={"filename": "a.pdf"}) == []
