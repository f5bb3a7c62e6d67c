"""LlamaIndex filters: they select the same pages as a predicate on the metadata, or are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.vector_stores.types import FilterOperator, MetadataFilter, MetadataFilters
from llama_index_docrag import DocragRetriever

from docrag import Index
from docrag.errors import QueryError
from tests.integrations.llama_index.helpers import (
    ANNUAL_REPORT,
    MANUAL,
    PURIFIER_QUESTION,
    files_and_pages,
)

OP = FilterOperator


def comparison(key: str, value: Any, operator: FilterOperator = FilterOperator.EQ) -> MetadataFilter:
    return MetadataFilter(key=key, value=value, operator=operator)


def group(*filters: Any, condition: str = "and") -> MetadataFilters:
    return MetadataFilters(filters=list(filters), condition=condition)


FILTERS: dict[str, tuple[Any, Callable[[dict[str, Any]], bool]]] = {
    "mapping": (
        {"file_name": MANUAL, "page_number": 4},
        lambda m: m["page_number"] == 4 and m["file_name"] == MANUAL,
    ),
    "list": ({"page": [1, 2]}, lambda m: m["page_number"] < 3),
    "equal": (group(comparison("file_name", MANUAL)), lambda m: m["file_name"] == MANUAL),
    "not equal": (group(comparison("file_name", MANUAL, OP.NE)), lambda m: m["file_name"] != MANUAL),
    "in": (
        group(comparison("file_name", [MANUAL, ANNUAL_REPORT], OP.IN)),
        lambda m: m["file_name"] in (MANUAL, ANNUAL_REPORT),
    ),
    "not in": (group(comparison("page_number", [1, 2], OP.NIN)), lambda m: m["page_number"] > 2),
    "greater": (group(comparison("page_number", 3, OP.GT)), lambda m: m["page_number"] > 3),
    "between": (
        group(comparison("page_number", 3, OP.LTE), comparison("page_number", 2, OP.GTE)),
        lambda m: m["page_number"] in (2, 3),
    ),
    "less": (group(comparison("total_pages", 4, OP.LT)), lambda m: m["total_pages"] < 4),
    "or": (
        group(
            comparison("file_name", MANUAL),
            group(comparison("file_name", ANNUAL_REPORT), comparison("page_number", 1)),
            condition="or",
        ),
        lambda m: m["file_name"] == MANUAL or (m["file_name"] == ANNUAL_REPORT and m["page_number"] == 1),
    ),
    "not": (
        group(comparison("file_name", MANUAL), comparison("page_number", 1), condition="not"),
        lambda m: m["file_name"] != MANUAL and m["page_number"] != 1,
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters_select_what_the_predicate_selects(demo_index: Index, name: str):
    filter, predicate = FILTERS[name]
    every_page = DocragRetriever(demo_index, k=1000, mode="cosine").retrieve("ferry")
    selected = DocragRetriever(demo_index, k=1000, mode="cosine", filter=filter).retrieve("ferry")
    expected = [node for node in every_page if predicate(node.metadata)]
    assert sorted(files_and_pages(selected)) == sorted(files_and_pages(expected))
    assert 0 < len(selected) < len(every_page)


def test_the_path_in_a_node_can_be_used_in_a_filter(demo_index: Index):
    path = DocragRetriever(demo_index, k=1).retrieve(PURIFIER_QUESTION.text)[0].metadata["file_path"]
    nodes = DocragRetriever(demo_index, k=9, filter=group(comparison("file_path", path))).retrieve("lamp")
    assert {node.metadata["file_path"] for node in nodes} == {path}


def test_an_empty_filter_is_no_filter(demo_index: Index):
    assert len(DocragRetriever(demo_index, k=3, filter=MetadataFilters(filters=[])).retrieve("ferry")) == 3


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        (group(comparison("title", "ferry", OP.TEXT_MATCH)), "text_match"),
        (group(comparison("title", None, OP.IS_EMPTY)), "is_empty"),
        (group(comparison("sources", "a", OP.CONTAINS)), "contains"),
        (group(comparison("title", "a", OP.IN)), "filter title"),
        (group(comparison("title", [], OP.IN)), "filter title"),
        (group(comparison("title", "2023-01-01", OP.GT)), "filter title"),
        (group(group()), "group"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_invalid_filters_are_refused_when_the_retriever_is_made(demo_index: Index, filter, message):
    with pytest.raises(QueryError, match=message) as caught:
        DocragRetriever(demo_index, filter=filter)
    assert caught.value.hint
