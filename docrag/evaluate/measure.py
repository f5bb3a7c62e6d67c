"""nDCG, recall and reciprocal rank of a run, by ir-measures, and how long the searches took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from docrag.errors import ModelUnavailable, SettingsError
from docrag.evaluate.qrels import JudgedQuery, Qrels

Run = Mapping[str, Sequence[str]]
"""Query id -> corpus ids (`file name#page`), best first."""

_SAME = ("nDCG@5", "nDCG@10", "R@1", "R@5", "R@10")
METRICS = {**{name: name for name in _SAME}, "RR@10": "MRR@10"}
"""Name in ir-measures -> what is reported."""


def evaluate(run: Run, qrels: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """Metrics of a run, 0..1, averaged over all judged queries.

    A judged query without hits counts 0; a query without judgements is left out. Where a page stands twice in
    a ranking its first place counts, and the pages behind it move up.

    Returns:
        nDCG@5, nDCG@10 (gain = score, discount = log2(rank + 1)), R@1, R@5, R@10 (share of the relevant pages
        found) and MRR@10.

    Raises:
        ModelUnavailable: ir-measures is not installed.
        SettingsError: There are no judged queries.
    """
    if not qrels:
        raise SettingsError("no judged queries", "give a qrels file with at least one line")
    measures = _measures()
    judged = {query: dict(pages) for query, pages in qrels.items()}
    wanted = [measures.parse_measure(name) for name in METRICS]
    totals = dict.fromkeys(METRICS.values(), 0.0)
    # Summed here, so that the mean does not hang on which queries a provider reports.
    for value in measures.iter_calc(wanted, judged, _scored(run, judged)):
        totals[METRICS[str(value.measure)]] += float(value.value)
    return {name: total / len(judged) for name, total in totals.items()}


def by_source(
    run: Run, qrels: Mapping[str, Mapping[str, int]], queries: Mapping[str, JudgedQuery]
) -> dict[str, dict[str, float]]:
    """The metrics for each `metadata.source`, in alphabetical order; "unknown" where there is none.

    Raises:
        ModelUnavailable: ir-measures is not installed.
    """
    groups: dict[str, Qrels] = {}
    for query, pages in qrels.items():
        source = queries[query].source if query in queries else ""
        groups.setdefault(source or "unknown", {})[query] = dict(pages)
    return {source: evaluate(run, groups[source]) for source in sorted(groups)}


def latency(seconds: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile of the searches' durations.

    Args:
        seconds: One duration a search; none give 0.

    Returns:
        {"p50", "p95"} in milliseconds, linearly interpolated.
    """
    p50, p95 = np.percentile(seconds, [50, 95]) * 1000 if len(seconds) else (0.0, 0.0)
    return {"p50": float(p50), "p95": float(p95)}


def report(
    mode: str, run: Run, qrels: Qrels, queries: Mapping[str, JudgedQuery], seconds: Sequence[float]
) -> dict[str, Any]:
    """What `docrag eval --json` prints.

    Args:
        mode: The search mode that made the run.
        run: Rankings.
        qrels: Judgements; its queries are those that count.
        queries: The questions, for their sources.
        seconds: Duration of each search.

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


def _scored(run: Run, judged: Mapping[str, object]) -> dict[str, dict[str, float]]:
    """The run as falling scores: ir-measures ranks by score, and breaks ties by id."""
    unique = {query: list(dict.fromkeys(run.get(query, ()))) for query in judged}
    return {query: {page: -float(rank) for rank, page in enumerate(pages)} for query, pages in unique.items()}


def _measures() -> Any:
    try:
        import ir_measures
    except ImportError as error:
        raise ModelUnavailable("ir-measures is not installed", "pip install 'docrag-qdrant[eval]'") from error
    return ir_measures
