from __future__ import annotations

import numpy as np
import pytest

from docrag.errors import StoreError
from docrag.store.local import translate
from docrag.store.requests import PayloadFilter, Prefetch, QueryRequest

VECTOR = np.ones(3, np.float32)


def test_every_part_of_a_query_is_translated():
    chosen = PayloadFilter()
    source = QueryRequest(VECTOR, "caption", 5, chosen, (Prefetch(VECTOR, "image", 7, chosen),), exact=True)
    request = translate.to_query(source)
    [prefetch] = request.prefetches
    assert (request.limit, prefetch.limit) == (5, 7)
    assert None not in (request.filter, prefetch.filter)
    assert (request.with_vector, request.with_payload) == (False, False)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("ignored", [False, True])
def test_parameters_are_given_where_they_differ_from_the_engines(exact: bool, ignored: bool):
    source = QueryRequest(VECTOR, "caption", 5, exact=exact, ignore_quantization=ignored)
    params = translate.to_query(source).params
    if not exact and not ignored:
        assert params is None
        return
    assert params.exact is exact
    assert (params.quantization is not None and params.quantization.ignore) is ignored


def test_no_filter_stays_none():
    assert translate.to_filter(None) is None


def test_what_is_not_a_condition_is_refused():
    with pytest.raises(StoreError, match="'page=1' is not a condition") as refused:
        translate.to_filter(PayloadFilter(must=("page=1",)))
    assert "docrag.store.requests" in refused.value.hint
