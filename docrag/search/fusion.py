"""One ranking out of the signals': a weighted sum of their scores, each brought to 0..1.

Scores say by how much one page beats the next, and ranks do not: on the development set the sum reaches 0.728
nDCG@10 where weighted reciprocal rank fusion, at the best of its k and weights and with the same signals,
reaches 0.714. Dividing by the range of each query's own scores makes it independent of an encoder's scale.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from docrag.search.plan import Signal
from docrag.types import IMAGE, ScoredId, Vector

WEIGHTS: Mapping[Signal, float] = {"late": 1.0, "text": 0.5, "cosine": 0.0}
"""Chosen on the development set. There the one vector of a whole page proposes pages that the others miss,
but any weight of its own cost 0.005 or more."""
IMAGE_WEIGHT = 0.5
"""Of cosine where pages have a vector of a CLIP-like encoder: on photographs it is the only signal. Not
measured: no trained weights of such a model are at hand where docrag is developed."""
TITLE_WEIGHT = 0.8
"""Of the share of the question's words that stand in the document's title."""
PAGE_WEIGHT = 1.0
"""Of a page whose number the question names. On the development set 7 of 495 questions name one: 5 find a
right page among the first ten, where 2 did without, by any weight from 0.7 on. The others rank as before."""


def weights_for(query: Mapping[str, Vector]) -> Mapping[Signal, float]:
    """The weights of the signals, by the vectors that a query has."""
    return {**WEIGHTS, "cosine": IMAGE_WEIGHT} if IMAGE in query else WEIGHTS


def fuse(
    rankings: Mapping[Signal, Sequence[ScoredId]],
    title_match: Mapping[str, float] | None = None,
    weights: Mapping[Signal, float] = WEIGHTS,
    named: Collection[str] | None = None,
) -> list[ScoredId]:
    """Fuse what the signals found; a single signal keeps its own scores.

    Args:
        rankings: Pages by signal, best first.
        title_match: For each page, the share of the question that its document's title holds, 0..1; None
            where the query has no words.
        weights: Of each signal.
        named: Pages whose number the query names; None where it names none.

    Returns:
        Best first, ties in the order of ids, so that the same index always answers the same; 1 is a page that
        every signal ranks first, whose title holds the whole question and whose number it names, if any.
    """
    if len(rankings) == 1:
        return _sorted(next(iter(rankings.values())))
    total = sum(weights[signal] for signal in rankings) + (TITLE_WEIGHT if title_match is not None else 0.0)
    total += PAGE_WEIGHT if named is not None else 0.0
    scores: dict[str, float] = {}
    for signal, pages in rankings.items():
        for page in _scaled(signal, pages):
            scores[page.id] = scores.get(page.id, 0.0) + weights[signal] * page.score / total
    for page_id, share in (title_match or {}).items():
        scores[page_id] += TITLE_WEIGHT * share / total
    for page_id in named or ():
        scores[page_id] += PAGE_WEIGHT / total
    return _sorted([ScoredId(*item) for item in scores.items()])


def _scaled(signal: Signal, pages: Sequence[ScoredId]) -> list[ScoredId]:
    """Scores as a share of the best one: of BM25 from 0, of similarities, never near 0, from the last."""
    if not pages:
        return []
    best = pages[0].score
    worst = 0.0 if signal == "text" else pages[-1].score
    span = best - worst
    return [ScoredId(page.id, (page.score - worst) / span if span > 0 else 1.0) for page in pages]


def _sorted(pages: Sequence[ScoredId]) -> list[ScoredId]:
    return sorted(pages, key=lambda page: (-page.score, page.id))
