"""One ranking for hybrid search: a weighted sum of the scaled scores of all signals, and two boosts.

Scores say by how much one page beats the next, and ranks do not. On the development set the sum reaches
0.728 nDCG@10; weighted reciprocal rank fusion with the same signals reaches 0.714 at the best of its k and
weights. Dividing by the range of each query's own scores makes the result independent of an encoder's
scale.

The boosts raise pages whose document has the question's words in its title, and pages whose number the
question names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from docrag.encode.texts import STOP_WORDS, split_years
from docrag.search.plan import Signal
from docrag.types import IMAGE, ScoredId, Vector

WEIGHTS: Mapping[Signal, float] = {"late": 1.0, "text": 0.5, "cosine": 0.0}
"""Chosen on the development set. There the single vector of a whole page proposes pages that the other
signals miss, but any weight of its own cost 0.005 nDCG@10 or more."""
IMAGE_WEIGHT = 0.5
"""Weight of cosine if pages have a vector of a CLIP-like encoder: on photographs it is the only signal.
This is not measured, because trained weights of such a model are not available where docrag is developed."""
TITLE_WEIGHT = 0.8
"""Weight of the share of the question's words that are in the title of the document."""
PAGE_WEIGHT = 1.0
"""Weight of a page whose number the question names. On the development set 7 of 495 questions name one:
with any weight from 0.7 on, 5 of them find a right page among the first ten, and 2 without. All other
questions rank as before."""
NUMBER_WEIGHT = 2.0
"""How much a word with a digit counts: years and quarters distinguish one filing from the next."""

_PAGE_NUMBERS = re.compile(
    r"(?<!['\"\u201c\u2018])\bpages?\s+(\d{1,6})(?:\s+and\s+(?:pages?\s+)?(\d{1,6}))?\b", re.IGNORECASE
)


def weights_for(query: Mapping[str, Vector]) -> Mapping[Signal, float]:
    """The weights of the signals for a query with these vectors."""
    return {**WEIGHTS, "cosine": IMAGE_WEIGHT} if IMAGE in query else WEIGHTS


def fuse(
    rankings: Mapping[Signal, Sequence[ScoredId]],
    title_shares: Mapping[str, float] | None = None,
    weights: Mapping[Signal, float] = WEIGHTS,
    named: Collection[str] | None = None,
) -> list[ScoredId]:
    """Fuse the rankings of the signals. A single signal keeps its own scores.

    Args:
        rankings: By signal, the pages that it found, best first.
        title_shares: By page id, the share of the question that is in the title of its document, 0..1. None
            if the query has no words.
        weights: The weight of each signal.
        named: Ids of the pages whose number the query names. None if it names none.

    Returns:
        The pages, best first. Ties are ordered by id, so that the same index always gives the same answer. A
        score of 1 means that every signal ranks the page first, its title holds the whole question, and the
        query names its number if it names any.
    """
    if len(rankings) == 1:
        [ranking] = rankings.values()
        return _sorted(ranking)
    total = sum(weights[signal] for signal in rankings)
    total += TITLE_WEIGHT if title_shares is not None else 0.0
    total += PAGE_WEIGHT if named is not None else 0.0
    scores: dict[str, float] = {}
    for signal, pages in rankings.items():
        for page in _scaled(signal, pages):
            scores[page.id] = scores.get(page.id, 0.0) + weights[signal] * page.score / total
    for page_id, share in (title_shares or {}).items():
        scores[page_id] += TITLE_WEIGHT * share / total
    for page_id in named or ():
        scores[page_id] += PAGE_WEIGHT / total
    return _sorted([ScoredId(page_id, score) for page_id, score in scores.items()])


class TitleMatch:
    """Compares one question with many titles. Who names a company wants the pages of its filings.

    >>> TitleMatch("What did Harbour Ferries earn in FY2023?").share("Harbour Ferries annual report 2023")
    0.6666666666666666
    """

    def __init__(self, question: str) -> None:
        self._weights = {word: _weight(word) for word in _words(question)}
        self._total = sum(self._weights.values())

    def share(self, title: str) -> float:
        """The weight of the question's words that are in a title, 0..1."""
        if not self._total:
            return 0.0
        return sum(self._weights.get(word, 0.0) for word in _words(title)) / self._total


def named_pages(question: str) -> frozenset[int]:
    """The page numbers, from 1, that a question names.

    Numbers in quotes are examples of an answer and do not count.

    >>> sorted(named_pages("How many cars are on page 2 and page 4?"))
    [2, 4]
    >>> sorted(named_pages("Which pages show cars? Answer like ['Page 2', 'Page 4']."))
    []
    """
    return frozenset(
        int(number) for numbers in _PAGE_NUMBERS.findall(question) for number in numbers if number
    )


def _scaled(signal: Signal, pages: Sequence[ScoredId]) -> list[ScoredId]:
    """Scores scaled to 0..1.

    BM25 starts at 0, and similarities, which are never near 0, at the last page's.
    """
    if not pages:
        return []
    best = pages[0].score
    worst = 0.0 if signal == "text" else pages[-1].score
    span = best - worst
    return [ScoredId(page.id, (page.score - worst) / span if span > 0 else 1.0) for page in pages]


def _sorted(pages: Sequence[ScoredId]) -> list[ScoredId]:
    return sorted(pages, key=lambda page: (-page.score, page.id))


def _weight(word: str) -> float:
    return NUMBER_WEIGHT if any(map(str.isdigit, word)) else 1.0


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", split_years(text).casefold())) - STOP_WORDS
