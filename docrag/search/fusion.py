"""Weighted reciprocal rank fusion (Cormack, Clarke & Büttcher 2009)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from docrag.search.plan import Signal
from docrag.types import ScoredId

K = 20
"""Added to each rank: the smaller, the more the first ranks count. Chosen on the development set."""
WEIGHTS: Mapping[Signal, float] = {"late": 1.0, "text": 1.0, "cosine": 0.3}
"""Chosen on the development set, where the cosine of a whole page says least."""


def fuse(rankings: Mapping[Signal, Sequence[ScoredId]]) -> list[ScoredId]:
    """One ranking out of several; a single one keeps its own scores.

    The fused score is 1 for a page that every signal ranks first, and falls towards 0.

    Args:
        rankings: Pages by signal, best first.

    Returns:
        Best first, ties in the order of ids, so that the same index always answers the same.
    """
    if len(rankings) == 1:
        return _sorted(next(iter(rankings.values())))
    total = sum(WEIGHTS[signal] for signal in rankings)
    scores: dict[str, float] = {}
    for signal, pages in rankings.items():
        for rank, page in enumerate(pages, start=1):
            scores[page.id] = scores.get(page.id, 0.0) + WEIGHTS[signal] / total * (K + 1) / (K + rank)
    return _sorted([ScoredId(*item) for item in scores.items()])


def _sorted(pages: Sequence[ScoredId]) -> list[ScoredId]:
    return sorted(pages, key=lambda page: (-page.score, page.id))
