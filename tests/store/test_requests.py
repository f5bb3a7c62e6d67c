from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from docrag.errors import StoreError
from docrag.store.requests import FieldMatch, FieldRange, HasId, PayloadFilter, QueryRequest


def test_filters_of_the_same_conditions_are_equal():
    def first_pages() -> PayloadFilter:
        return PayloadFilter(must=(FieldRange("metadata.page", lt=3),), must_not=(HasId(("a",)),))

    assert first_pages() == first_pages()
    assert len({first_pages(), first_pages()}) == 1
    assert first_pages() != PayloadFilter()


def test_queries_can_be_compared_although_they_hold_arrays():
    vector = np.eye(2, 3, dtype=np.float32)
    first, second = (QueryRequest(vector, "patches", 10) for _ in range(2))
    assert first == first
    assert first != second


@pytest.mark.parametrize(("values", "message"), [((), "no values"), (("a", True), "boolean")])
def test_a_match_that_an_engine_would_misunderstand_is_refused(values: tuple[str | int, ...], message: str):
    with pytest.raises(StoreError, match=f"metadata.page .*{message}"):
        FieldMatch("metadata.page", values)


def test_requests_are_made_without_an_engine():
    code = "import docrag.store.requests, sys; print({'qdrant_client', 'qdrant_edge'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"
