import sys
from collections.abc import Mapping, Sequence
from math import log2

import numpy as np
import pytest

from docrag.errors import ModelUnavailable, SettingsError
from docrag.evaluate import JudgedQuery, by_source, evaluate, latency, report

NAMES = ["nDCG@5", "nDCG@10", "R@1", "R@5", "R@10", "MRR@10"]


def ndcg(ranking: Sequence[str], judged: Mapping[str, int], depth: int) -> float:
    """Järvelin and Kekäläinen 2002, with linear gain."""
    discount = np.log2(np.arange(depth) + 2)
    gains = np.array([judged.get(page, 0) for page in ranking[:depth]])
    ideal = np.sort(list(judged.values()))[::-1][:depth]
    best = (ideal / discount[: len(ideal)]).sum()
    return float((gains / discount[: len(gains)]).sum() / best) if best else 0.0


def test_values_computed_by_hand() -> None:
    scores = evaluate({"q": ["x#1", "a#1", "y#1", "b#1"]}, {"q": {"a#1": 1, "b#1": 1}})
    expected = (1 / log2(3) + 1 / log2(5)) / (1 + 1 / log2(3))
    assert list(scores) == NAMES
    assert scores == pytest.approx(
        {"nDCG@5": expected, "nDCG@10": expected, "R@1": 0, "R@5": 1, "R@10": 1, "MRR@10": 0.5}
    )


def test_cutoffs() -> None:
    scores = evaluate({"q": [f"x#{n}" for n in range(1, 8)] + ["a#1"]}, {"q": {"a#1": 1}})
    assert scores == pytest.approx(
        {"nDCG@5": 0, "nDCG@10": 1 / log2(9), "R@1": 0, "R@5": 0, "R@10": 1, "MRR@10": 1 / 8}
    )


def test_ndcg_agrees_with_an_independent_one_on_random_graded_runs() -> None:
    rng = np.random.default_rng(0)
    pages = [f"report.pdf#{n}" for n in range(1, 31)]
    qrels = {
        f"q{i}": {str(page): int(rng.integers(0, 4)) for page in rng.choice(pages, 6, replace=False)}
        for i in range(40)
    }
    run = {query: [str(page) for page in rng.permutation(pages)[:12]] for query in qrels}
    scores = evaluate(run, qrels)
    for depth in (5, 10):
        expected = np.mean([ndcg(run[query], judged, depth) for query, judged in qrels.items()])
        assert scores[f"nDCG@{depth}"] == pytest.approx(expected)


def test_judged_queries_without_hits_count_zero() -> None:
    qrels = {"q1": {"a#1": 1}, "q2": {"a#2": 1}, "q3": {"a#3": 1}, "q4": {"a#4": 1}}
    assert evaluate({"q1": ["a#1"], "q2": []}, qrels) == pytest.approx(dict.fromkeys(NAMES, 0.25))


def test_queries_without_judgements_are_left_out() -> None:
    assert evaluate({"q": ["a#1"], "other": ["b#1"]}, {"q": {"a#1": 1}}) == pytest.approx(
        dict.fromkeys(NAMES, 1.0)
    )


def test_a_query_that_no_page_answers_counts_zero() -> None:
    scores = evaluate({"q": ["a#1"], "none": ["a#1"]}, {"q": {"a#1": 1}, "none": {"a#1": 0}})
    assert scores == pytest.approx(dict.fromkeys(NAMES, 0.5))


def test_a_page_that_stands_twice_counts_at_its_first_place() -> None:
    run = {"q": ["x#1", "x#1", "a#1", "a#1"]}
    assert evaluate(run, {"q": {"a#1": 1}}) == evaluate({"q": ["x#1", "a#1"]}, {"q": {"a#1": 1}})


def test_the_order_of_the_run_counts_and_not_the_ids() -> None:
    assert evaluate({"q": ["z#1", "a#1"]}, {"q": {"z#1": 1}})["MRR@10"] == 1
    assert evaluate({"q": ["a#1", "z#1"]}, {"q": {"z#1": 1}})["MRR@10"] == 0.5


def test_groups_by_source() -> None:
    queries = {"q1": JudgedQuery("q1", "?", {"source": "b"}), "q2": JudgedQuery("q2", "?", {"source": "a"})}
    groups = by_source({"q1": ["a#1"]}, {"q1": {"a#1": 1}, "q2": {"a#1": 1}, "q3": {"a#1": 1}}, queries)
    assert list(groups) == ["a", "b", "unknown"]
    assert [group["R@1"] for group in groups.values()] == [0, 1, 0]


def test_latency_in_milliseconds() -> None:
    assert latency([n / 1000 for n in range(1, 102)]) == pytest.approx({"p50": 51, "p95": 96})
    assert latency([]) == {"p50": 0, "p95": 0}


def test_the_report_has_the_keys_that_scripts_rely_on() -> None:
    query = JudgedQuery("q", "?", {"source": "made"})
    made = report("late", {"q": ["a#1"]}, {"q": {"a#1": 1}}, {"q": query}, [0.02])
    assert list(made) == ["mode", "queries", "metrics", "by_source", "latency_ms"]
    assert (made["mode"], made["queries"]) == ("late", 1)
    assert made["by_source"] == {"made": made["metrics"]}
    assert made["latency_ms"] == pytest.approx({"p50": 20, "p95": 20})


def test_without_judgements_there_is_nothing_to_measure() -> None:
    with pytest.raises(SettingsError, match="no judged queries"):
        evaluate({}, {})


def test_without_ir_measures_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(ModelUnavailable) as raised:
        evaluate({"q": ["a#1"]}, {"q": {"a#1": 1}})
    assert raised.value.hint == "pip install 'docrag-qdrant[eval]'"
