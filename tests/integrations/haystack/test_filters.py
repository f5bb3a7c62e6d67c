"""Haystack filters: they select what Haystack's own stores would, or are refused."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from haystack.document_stores.types import FilterPolicy
from haystack.utils.filters import document_matches_filter
from haystack_docrag import DocragRetriever

from docrag.errors import QueryError
from tests.integrations.haystack.helpers import (
    ANNUAL_REPORT,
    MANUAL,
    comparison,
    files_and_pages,
    group,
)

FILTERS: dict[str, dict[str, Any]] = {
    "equal": comparison("meta.file_name", "==", MANUAL),
    "without meta": comparison("file_name", "==", MANUAL),
    "not equal": comparison("meta.file_name", "!=", MANUAL),
    "in": comparison("meta.page_number", "in", [1, 3]),
    "not in": comparison("meta.file_name", "not in", [MANUAL, ANNUAL_REPORT]),
    "greater": comparison("meta.page_number", ">", 3),
    "at least": comparison("meta.page_number", ">=", 3),
    "less": comparison("meta.total_pages", "<", 4),
    "at most": comparison("meta.page_number", "<=", 1),
    "and": group("AND", comparison("meta.page_number", ">", 1), comparison("meta.file_name", "==", MANUAL)),
    "or": group("OR", comparison("meta.page_number", ">", 3), comparison("meta.file_name", "==", MANUAL)),
    "not": group("NOT", comparison("meta.page_number", "==", 1), comparison("meta.file_name", "==", MANUAL)),
    "nested": group(
        "OR",
        group("AND", comparison("meta.page_number", "==", 1), comparison("meta.file_name", "==", MANUAL)),
        group("NOT", comparison("meta.total_pages", ">", 1)),
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters_select_what_haystack_would(retriever: DocragRetriever, name: str):
    every_page = retriever.run("ferry", top_k=1000, mode="cosine")["documents"]
    selected = retriever.run("ferry", top_k=1000, mode="cosine", filters=FILTERS[name])["documents"]
    expected = [document for document in every_page if document_matches_filter(FILTERS[name], document)]
    assert sorted(files_and_pages(selected)) == sorted(files_and_pages(expected))
    assert 0 < len(selected) < len(every_page)


def test_filters_of_a_run_replace_or_extend_those_of_the_component(index: str):
    retriever = DocragRetriever(index, filters=comparison("meta.file_name", "==", MANUAL))
    first_pages = comparison("meta.page_number", "==", 1)
    try:
        replaced = retriever.run("ferry", filters=first_pages)["documents"]
        retriever.filter_policy = FilterPolicy.MERGE
        merged = retriever.run("ferry", filters=first_pages)["documents"]
    finally:
        retriever.close()
    assert len({file for file, _ in files_and_pages(replaced)}) > 1
    assert files_and_pages(merged) == [(MANUAL, 1)]


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (comparison("meta.title", "like", "x"), "like"),
        (group("XOR", comparison("meta.title", "==", "x")), "XOR"),
        (comparison("content", "==", "x"), "document's content"),
        (comparison("meta.title", "in", "x"), "filter title"),
        (comparison("meta.title", "in", []), "filter title"),
        (comparison("meta.title", "==", None), "filter title"),
        (comparison("meta.title", ">", "2023-01-01"), "filter title"),
        (group("AND"), "group"),
        ({"file_name": "a.pdf"}, "a group has conditions, operator"),
        ({"field": "meta.title", "value": "x"}, "a comparison has"),
        (group("AND", "title"), "is not a filter"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_invalid_filters_are_refused_when_the_component_is_made(filters, message):
    with pytest.raises(QueryError, match=message) as caught:
        DocragRetriever("nowhere", filters=filters)
    assert caught.value.hint


def test_a_translated_filter_is_logged_at_debug_only(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG, "haystack_docrag"):
        DocragRetriever("nowhere", filters=comparison("meta.file_name", "==", MANUAL))
    [record] = caplog.records
    assert record.levelno == logging.DEBUG
    assert MANUAL in record.getMessage()
