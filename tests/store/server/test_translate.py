from __future__ import annotations

import numpy as np
import pytest
from qdrant_client import models

from docrag.errors import StoreError
from docrag.store.requests import FieldIsEmpty, FieldMatch, FieldRange, HasId, PayloadFilter, QueryRequest
from docrag.store.server import translate
from docrag.types import SparseVector
from tests.store.local_mode import to_model

VECTOR = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (FieldMatch("a", (1,)), {"key": "a", "match": {"value": 1}}),
        (FieldMatch("a", ("x", "y")), {"key": "a", "match": {"any": ["x", "y"]}}),
        (
            FieldMatch("a", ("1", 1)),
            {"should": [{"key": "a", "match": {"value": "1"}}, {"key": "a", "match": {"value": 1}}]},
        ),
        (FieldRange("a", gt=1, lte=2), {"key": "a", "range": {"gt": 1.0, "lte": 2.0}}),
        (FieldIsEmpty("a"), {"is_empty": {"key": "a"}}),
        (HasId(("7f", "80")), {"has_id": ["7f", "80"]}),
        (PayloadFilter(), {}),
        (PayloadFilter(should=(FieldIsEmpty("a"),)), {"should": [{"is_empty": {"key": "a"}}]}),
    ],
)
def test_a_condition_is_sent_as_qdrant_writes_it(condition: object, expected: dict[str, object]):
    made = translate.to_filter(PayloadFilter(must=(condition,)))
    assert made.model_dump(by_alias=True, exclude_none=True) == {"must": [expected]}


def test_no_filter_stays_none():
    assert translate.to_filter(None) is None


def test_a_sparse_query_stays_sparse():
    made = to_model(QueryRequest(SparseVector((3, 9), (1.0, 0.5)), "bm25", 4))
    assert made == models.QueryRequest(
        query=models.SparseVector(indices=[3, 9], values=[1.0, 0.5]), using="bm25", limit=4
    )


@pytest.mark.parametrize(
    ("exact", "ignored", "expected"),
    [
        (False, False, None),
        (True, False, {"exact": True}),
        (False, True, {"quantization": {"ignore": True}}),
        (True, True, {"exact": True, "quantization": {"ignore": True}}),
    ],
)
def test_parameters_are_sent_where_they_differ_from_qdrants(
    exact: bool, ignored: bool, expected: dict[str, object] | None
):
    source = QueryRequest(VECTOR, "caption", 5, exact=exact, ignore_quantization=ignored)
    params = to_model(source).params
    assert (params and params.model_dump(exclude_none=True, exclude_defaults=True)) == expected


def test_what_is_not_a_condition_is_refused():
    with pytest.raises(StoreError, match="'page=1' is not a condition"):
        translate.to_filter(PayloadFilter(must=("page=1",)))
