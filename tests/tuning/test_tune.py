from __future__ import annotations

import dataclasses
import json
import uuid
from types import SimpleNamespace

import numpy as np
import pytest

from docrag.errors import StoreError
from docrag.search.stages import PREFETCH, Stages
from docrag.store.layout import Layout
from docrag.store.local.store import EdgeStore
from docrag.tuning import tune as flow
from docrag.tuning.tune import MeasuredStages, page_questions, tune
from docrag.types import BM25, CAPTION, PATCHES, POOLED, PageRecord, SparseVector

PAGES, DIM = 240, 16
DIRECTIONS = np.linalg.qr(np.random.default_rng(0).normal(size=(DIM, DIM)))[0]


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def rows_of(number: int) -> np.ndarray:
    """Patches of a page: some near the direction of its kind, of which there are twelve."""
    rng = np.random.default_rng(number)
    return unit(rng.normal(size=(12, DIM)) + 3 * DIRECTIONS[number % 12])


def page(number: int) -> PageRecord:
    rows = rows_of(number)
    content = f"Title {number}\nNumber {number} of the kind {number % 12}"
    block = [0, 0, 1, 1, content.index("\n") + 1, len(content)]
    return PageRecord(
        id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"tune {number}")),
        vectors={
            PATCHES: rows,
            POOLED: unit(rows.reshape(3, 4, DIM).mean(axis=1)),
            CAPTION: unit(rows.mean(axis=0)),
            BM25: SparseVector((number % 12, 100 + number), (1.0, 1.0)),
        },
        payload={
            "page_content": content,
            "metadata": {"page": number, "caption": f"Title {number}", "title": f"Title {number}"},
            "layout": {"boxes": "", "blocks": [block]},
        },
    )


def encode_query(text: str) -> dict:
    """A question names a page: its rows, again and again, and their noise."""
    number = int(text.split()[1])
    rng = np.random.default_rng(1000 + number)
    rows = unit(np.resize(rows_of(number), (20, DIM)) + 0.1 * rng.normal(size=(20, DIM)))
    return {PATCHES: rows, CAPTION: unit(rows.mean(axis=0)), BM25: SparseVector((number % 12,), (1.0,))}


ENCODERS = SimpleNamespace(encode_query=encode_query)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    layout = Layout.for_dims(late=DIM, image=None, text=DIM)
    with EdgeStore.create(tmp_path_factory.mktemp("tune") / "shard", layout) as store:
        store.upsert([page(number) for number in range(PAGES)])
        yield store


def test_it_asks_what_stands_on_pages(store):
    texts = page_questions(store, 30)
    assert texts == page_questions(store, 30)
    assert len(set(texts)) == 30
    assert all(text.startswith("Number ") and " of the kind " in text for text in texts)


@pytest.mark.slow
def test_the_chosen_plan_finds_what_was_asked_for_and_costs_less(store):
    tuning = tune(store, ENCODERS, [], 0.9)
    assert (tuning.pages, tuning.questions) == (PAGES, 50)
    assert tuning.chosen in tuning.trials
    assert tuning.chosen.recall >= 0.9
    assert sum(tuning.chosen.stages.prefetch.values()) < sum(PREFETCH.values())
    assert tuning.trials[-1].stages == Stages.for_pages(PAGES)
    assert tuning.measured().keys() == {"pages", "questions", "exact_ms", "recall", "latency_ms"}


def test_recall_is_that_of_exact_search_over_all_pages(store):
    tuning = tune(store, ENCODERS, ["Number 7", "Number 30"], 0.5)
    assert tuning.questions == 2
    for trial in tuning.trials:
        if max(trial.stages.prefetch.values()) >= PAGES and not trial.stages.sieve:
            assert trial.recall == 1


@pytest.mark.slow
def test_a_higher_recall_needs_as_many_pages_or_more(store):
    [low, high] = [
        tune(store, ENCODERS, [], recall).trials[0].stages.prefetch[POOLED] for recall in (0.6, 1.0)
    ]
    assert low < high


def test_of_many_questions_some_are_asked(store, monkeypatch):
    monkeypatch.setattr(flow, "MOST_QUESTIONS", 4)
    assert tune(store, ENCODERS, [f"Number {number}" for number in range(10)], 0.5).questions == 4


def test_a_small_index_is_left_alone(tmp_path):
    with EdgeStore.create(tmp_path / "shard", Layout.for_dims(late=DIM, image=None, text=DIM)) as small:
        small.upsert([page(0)])
        with pytest.raises(StoreError, match="1 pages"):
            tune(small, ENCODERS, [], 0.9)


def test_pages_without_words_need_questions(store, monkeypatch):
    monkeypatch.setattr(flow, "page_questions", lambda store, most: [])
    with pytest.raises(StoreError, match="words to ask"):
        tune(store, ENCODERS, [], 0.9)


def test_more_stages_must_be_worth_it():
    plain, sieved = Stages({POOLED: 50}, 0), Stages({POOLED: 50}, 200)
    slow, same, fast = (
        MeasuredStages(plain, 0.99, 10.0),
        MeasuredStages(sieved, 0.99, 9.5),
        MeasuredStages(sieved, 0.99, 5.0),
    )
    assert flow._choose([slow, same], 0.98) == slow
    assert flow._choose([slow, fast], 0.98) == fast
    assert flow._choose([dataclasses.replace(slow, recall=0.9), fast], 0.98) == fast
    assert flow._choose([dataclasses.replace(fast, recall=0.9)], 0.98) is None


def test_measurements_are_json(store):
    assert json.dumps(tune(store, ENCODERS, ["Number 3"], 0.5).measured())


@pytest.mark.slow
def test_other_poolings_datatypes_and_quantizations_are_compared_on_a_sample(store):
    asked = [f"Number {number}" for number in range(9)]
    [*tried] = tune(store, ENCODERS, asked, 0.5, compare=True).alternatives
    by_name = {one.what: one for one in tried}
    quantized = [f"quantized to {name}" for name in ("int8", "turbo 4 bits", "binary")]
    assert [*by_name] == [
        *(f"pooled by {kind}" for kind in ("rows", "rows+columns", "tokens", "muvera")),
        *(f"patches as {datatype}" for datatype in ("float32", "float16", "turbo8", "turbo4")),
        *(name + again for name in quantized for again in ("", ", rescored")),
    ]
    assert by_name["patches as float32"].recall == 1
    assert by_name["patches as float16"].recall > 0.95
    assert all(0 <= one.recall <= 1 and one.kb_a_page > 0 and one.latency_ms > 0 for one in tried)
    assert all((one.making_ms > 0) == one.what.startswith("pooled") for one in tried)
    for name in quantized:
        assert by_name[name].recall <= by_name[f"{name}, rescored"].recall
        assert by_name[name].kb_a_page > by_name["patches as float16"].kb_a_page
    assert by_name[quantized[-1]].recall < 0.9
