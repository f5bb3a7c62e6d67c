import numpy as np
import pytest

from docrag.errors import QueryError
from docrag.search.filters import (
    COMPARISONS,
    AllOf,
    AnyOf,
    Between,
    Is,
    Not,
    compare,
    metadata_filter,
)
from docrag.search.query import plan_queries
from docrag.store.layout import KEYWORDS
from docrag.store.requests import FieldMatch, FieldRange
from docrag.types import BM25, CAPTION, PATCHES, POOLED, SparseVector

VECTORS = {
    PATCHES: np.eye(2, 4, dtype=np.float32),
    CAPTION: np.array([1, 0, 0], np.float32),
    BM25: SparseVector((3, 9), (1.0, 1.0)),
}


def test_hybrid_asks_every_signal():
    assert list(plan_queries("hybrid", VECTORS, None)) == ["late", "cosine", "text"]


@pytest.mark.parametrize(("mode", "using"), [("late", PATCHES), ("cosine", CAPTION), ("text", BM25)])
def test_a_single_mode_asks_its_own_vector(mode, using):
    [(signal, request)] = plan_queries(mode, VECTORS, None).items()
    assert (signal, request.using) == (mode, using)


def test_late_rescores_what_the_other_vectors_propose():
    request = plan_queries("late", VECTORS, {"file_name": "a.pdf"}, k=70)["late"]
    assert {prefetch.using for prefetch in request.prefetch} == {POOLED, CAPTION, BM25}
    assert all(prefetch.filter == request.filter and prefetch.limit >= 70 for prefetch in request.prefetch)
    assert request.ignore_quantization is True


def test_a_query_of_stop_words_leaves_the_text_signal_out():
    vectors = {**VECTORS, BM25: SparseVector((), ())}
    plan = plan_queries("hybrid", vectors, None)
    assert list(plan) == ["late", "cosine"]
    assert BM25 not in {prefetch.using for prefetch in plan["late"].prefetch}
    assert plan_queries("text", vectors, None) == {}


def test_an_unknown_mode_is_refused():
    with pytest.raises(QueryError, match="psychic"):
        plan_queries("psychic", VECTORS, None)


def test_filters_mean_and():
    condition = metadata_filter({"file_name": "a.pdf", "source": "x/a.pdf"})
    assert [one.key for one in condition.must] == ["metadata.file_name", "metadata.sources"]


def test_pages_count_from_one_towards_people():
    assert metadata_filter({"page": "3"}).must[0].values == (2,)
    with pytest.raises(QueryError, match="page"):
        metadata_filter({"page": "0"})


def test_page_number_is_page():
    assert metadata_filter({"page_number": "3"}) == metadata_filter({"page": 3})
    bounds = metadata_filter(Between(key="page_number", gte=2, lt=4)).must
    assert bounds == (FieldRange("metadata.page", gte=1, lt=3),)


def test_a_field_without_index_is_matched_as_a_number_too():
    [either] = metadata_filter({"caption": "12"}).must
    assert either == FieldMatch("metadata.caption", ("12", 12))


def test_a_field_with_an_index_is_matched_in_its_type_alone():
    """Qdrant's strict mode refuses a number for a keyword index, and a text for one of numbers."""
    for field in KEYWORDS:
        key = field.removeprefix("metadata.")
        assert metadata_filter({key: 12}).must[0].values == ("12",)
    assert metadata_filter({"total_pages": ["12", 13]}).must == (
        FieldMatch("metadata.total_pages", (12, 13)),
    )
    with pytest.raises(QueryError, match="total_pages=12, many: not a whole number"):
        metadata_filter({"total_pages": ["12", "many"]})


@pytest.mark.parametrize("value", ["text-layer", "text layer"])
def test_where_words_come_from_is_found_in_both_spellings(value: str):
    [spellings] = metadata_filter({"words_from": value}).must
    assert sorted(spellings.values) == ["text layer", "text-layer"]
    assert metadata_filter({"words_from": "ocr"}).must[0].values == ("ocr",)


@pytest.mark.parametrize(
    "filter", [{"a b": "x"}, {"": "x"}, {"a[": "x"}, {"page": "two"}, {"page": "9" * 30}], ids=str
)
def test_filters_that_qdrant_would_choke_on_are_refused(filter):
    with pytest.raises(QueryError):
        metadata_filter(filter)


@pytest.mark.parametrize("value", ["--5", "9" * 30, "true", "ä b"])
def test_what_only_looks_like_a_number_is_text(value):
    assert metadata_filter({"title": value}).must[0].values == (value,)


def test_python_may_give_numbers():
    assert metadata_filter({"page": 2}).must[0].values == (1,)


def test_no_filter_is_none():
    assert metadata_filter(None) is None
    assert metadata_filter({}) is None


def test_a_list_means_any_of_its_values():
    [names] = metadata_filter({"file_name": ["a.pdf", "b.pdf"]}).must
    assert names.values == ("a.pdf", "b.pdf")
    [pages] = metadata_filter({"page": [2, "3"]}).must
    assert pages.values == (1, 2)
    [titles] = metadata_filter({"title": ["2023", "Ferry"]}).must
    assert titles.values == ("2023", "Ferry")
    [mixed] = metadata_filter({"width": [612, 595.5]}).must
    assert mixed.should == (
        FieldMatch("metadata.width", ("612", 612)),
        FieldRange("metadata.width", gte=595.5, lte=595.5),
    )


def test_conditions_nest():
    wanted = AnyOf((Not(Is("file_name", ("a.pdf",))), AllOf((Between(key="page", gte=2, lt=4),))))
    made = metadata_filter(wanted)
    assert made.should[0].must_not[0].key == "metadata.file_name"
    assert made.should[1].must == (FieldRange("metadata.page", gte=1, lt=3),)


def test_a_single_condition_is_a_filter():
    assert metadata_filter(Is("title", ("Ferry",))).must[0].values == ("Ferry",)
    assert metadata_filter(Is("width", (595.5,))).must[0].gte == 595.5


@pytest.mark.parametrize(
    "make",
    [
        lambda: metadata_filter({"file_name": []}),  # Qdrant would take it for no condition
        lambda: metadata_filter({"file_name": None}),
        lambda: metadata_filter({"ocr": True}),
        lambda: metadata_filter({"width": float("nan")}),
        lambda: metadata_filter({"page": ["1", "two"]}),
        lambda: metadata_filter("file_name=a.pdf"),
        lambda: AllOf(()),
        lambda: AnyOf(()),
        lambda: Between(key="page"),
        lambda: Between(key="title", gt="2023"),
    ],
)
def test_what_cannot_be_compared_is_refused(make):
    with pytest.raises(QueryError) as caught:
        make()
    assert caught.value.hint


def test_fields_go_by_the_names_of_frameworks_too():
    assert metadata_filter({"file_path": "a.pdf"}) == metadata_filter({"source": "a.pdf"})
    assert metadata_filter({"page_number": 3}) == metadata_filter({"page": 3})
    within = metadata_filter(compare("page_number", ">=", 3))
    assert within == metadata_filter(compare("page", ">=", 3))
    assert within.must[0].gte == 2
    with pytest.raises(QueryError, match="not a page number"):
        metadata_filter({"page_number": 0})


def test_comparisons_that_are_not_known_are_refused():
    with pytest.raises(QueryError, match="'like' of title") as refused:
        compare("title", "like", "x")
    assert refused.value.hint == f"one of {', '.join(COMPARISONS)}"
