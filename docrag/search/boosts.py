"""How much of a question a document's title holds: who names a company wants the pages of its filings."""

from __future__ import annotations

import re
from collections.abc import Iterable

from docrag.encode.texts import STOP_WORDS, split_years

NUMBER_WEIGHT = 2.0
"""What a word with a digit counts: years and quarters tell one filing from the next."""


class TitleMatch:
    """Compares one question with many titles.

    >>> TitleMatch("What did Harbour Ferries earn in FY2023?").share("Harbour Ferries annual report 2023")
    0.6666666666666666
    """

    def __init__(self, question: str) -> None:
        self._weights = {
            word: NUMBER_WEIGHT if any(map(str.isdigit, word)) else 1.0 for word in _words(question)
        }
        self._total = sum(self._weights.values())

    def share(self, title: str) -> float:
        """Weight of the question's words that stand in a title, 0..1."""
        if not self._total:
            return 0.0
        return sum(self._weights.get(word, 0.0) for word in _words(title)) / self._total


def _words(text: str) -> Iterable[str]:
    return set(re.findall(r"\w+", split_years(text).casefold())) - STOP_WORDS
