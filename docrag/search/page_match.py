"""The pages that a question names by their number: who asks about page 14 wants page 14."""

from __future__ import annotations

import re

_NAMED = re.compile(
    r"(?<!['\"\u201c\u2018])\bpages?\s+(\d{1,6})(?:\s+and\s+(?:pages?\s+)?(\d{1,6}))?\b", re.IGNORECASE
)


def pages_named(question: str) -> frozenset[int]:
    """Numbers of pages, from 1, that a question names; what stands in quotes is an example of an answer.

    >>> sorted(pages_named("How many cars are on page 2 and page 4?"))
    [2, 4]
    >>> sorted(pages_named("Which pages show cars? Answer like ['Page 2', 'Page 4']."))
    []
    """
    return frozenset(int(number) for found in _NAMED.findall(question) for number in found if number)
