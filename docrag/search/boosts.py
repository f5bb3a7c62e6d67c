"""What raises a page in hybrid search beside its scores.

The title of its document, and a page number in the question.
"""

from __future__ import annotations

import re

from docrag.encode.stop_words import STOP_WORDS
from docrag.encode.years import split_years

NUMBER_WEIGHT = 2.0
"""How much a word with a digit counts: years and quarters distinguish one filing from the next."""

_PAGE_NUMBERS = re.compile(
    r"(?<!['\"\u201c\u2018])\bpages?\s+(\d{1,6})(?:\s+and\s+(?:pages?\s+)?(\d{1,6}))?\b", re.IGNORECASE
)


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


def _weight(word: str) -> float:
    return NUMBER_WEIGHT if any(map(str.isdigit, word)) else 1.0


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", split_years(text).casefold())) - STOP_WORDS
