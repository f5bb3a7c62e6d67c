"""nDCG, recall and reciprocal rank of a run, computed with ir-measures, and the latency of its searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from docrag.errors import ModelUnavailable, SettingsError
from docrag.evaluate.qrels import JudgedQuery, Qrels

Run = Mapping[str, Sequence[str]]
"""Query id -> corpus ids (`file name#page`), best first."""

METRICS = {
    "nDCG@5": "nDCG@5",
    "nDCG@10": "nDCG@10",
    "R@1": "R@1",
    "R@5": "R@5",
    "R@10": "R@10",
    "RR@10": "MRR@10",
}
"""Name of each metric in ir-measures -> its name in reports."""


def evaluate(run: Run, qrels: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """Compute the metrics of a run, 0..1, averaged over all judged queries.

    A judged query without hits counts as 0, and a query without judgements is left out. If a page occurs
    twice in a ranking, its first rank counts, and the pages after the second one move up.

    Returns:
        nDCG@5, nDCG@10 (gain = relevance, discount = log2(rank + 1)), R@1, R@5, R@10 (share of the relevant
        pages that were found) and MRR@10.

    Raises:
        ModelUnavailable: ir-measures is not installed.
        SettingsError: There are no judged queries.
    """
    if not qrels:
        raise SettingsError("no judged queries", "give a qrels file with at least one line")
    measures = _measures()
    judged = {query: dict(pages) for query, pages in qrels.items()}
    parsed = [measures.parse_measure(name) for name in METRICS]
    totals = dict.fromkeys(METRICS.values(), 0.0)
    # Averaged here, so that the mean does not depend on which queries ir-measures' providers report.
    for value in measures.iter_calc(parsed, judged, _with_scores(run, judged)):
        totals[METRICS[str(value.measure)]] += float(value.value)
    return {name: total / len(judged) for name, total in totals.items()}


def by_source(
    run: Run, qrels: Mapping[str, Mapping[str, int]], queries: Mapping[str, JudgedQuery]
) -> dict[str, dict[str, float]]:
    """Compute the metrics for each `metadata.source` of the queries, in alphabetical order.

    Queries without a source are grouped as "unknown".

    Raises:
        ModelUnavailable: ir-measures is not installed.
    """
    groups: dict[str, Qrels] = {}
    for query, pages in qrels.items():
        source = queries[query].source if query in queries else ""
        groups.setdefault(source or "unknown", {})[query] = dict(pages)
    return {source: evaluate(run, groups[source]) for source in sorted(groups)}


def latency(seconds: Sequence[float]) -> dict[str, float]:
    """Compute the median and the 95th percentile of the searches' durations.

    Args:
        seconds: The duration of each search.

    Returns:
        {"p50", "p95"} in milliseconds, linearly interpolated; 0 if there are no searches.
    """
    if not len(seconds):
        return {"p50": 0.0, "p95": 0.0}
    p50, p95 = np.percentile(seconds, [50, 95])
    return {"p50": float(p50) * 1000, "p95": float(p95) * 1000}


def report(
    mode: str, run: Run, qrels: Qrels, queries: Mapping[str, JudgedQuery], seconds: Sequence[float]
) -> dict[str, Any]:
    """Make the report that `docrag eval --json` prints.

    Args:
        mode: The search mode that made the run.
        run: The rankings.
        qrels: The judgements; only the queries in it count.
        queries: The questions, which name their sources.
        seconds: The duration of each search.

    Returns:
        {"mode", "queries", "metrics", "by_source", "latency_ms"}.

    Raises:
        ModelUnavailable: ir-measures is not installed.
        SettingsError: There are no judged queries.
    """
    return {
        "mode": mode,
        "queries": len(qrels),
        "metrics": evaluate(run, qrels),
        "by_source": by_source(run, qrels, queries),
        "latency_ms": latency(seconds),
    }


def _with_scores(run: Run, judged: Mapping[str, object]) -> dict[str, dict[str, float]]:
    """The run with descending scores, because ir-measures ranks by score and breaks ties by id."""
    unique = {query: list(dict.fromkeys(run.get(query, ()))) for query in judged}
    return {query: {page: -float(rank) for rank, page in enumerate(pages)} for query, pages in unique.items()}


def _measures() -> Any:
    try:
        import ir_measures
    except ImportError as error:
        raise ModelUnavailable("ir-measures is not installed", "pip install 'docrag-qdrant[eval]'") from error
    return ir_measures
