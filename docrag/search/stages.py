"""How many pages each stage of a search lets through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from docrag.encode.vectors.pooling import clusters, sums_of
from docrag.types import BM25, CAPTION, IMAGE, POOLED

PREFETCH: Mapping[str, int] = {POOLED: 100, BM25: 50, CAPTION: 50, IMAGE: 50}
"""Pages that each vector proposes for exact MaxSim: 97 % of the exact ten best are among them on dev."""

SIEVE = 1000
"""On 1,504 pages of dev already 200 give the same recall as no sieve, of long questions too."""

POOLED_SHARE, SIEVE_SHARE = 30, 10
"""Of a larger index a thirtieth is proposed, and a tenth passes the sieve. Then `pooled` alone found all of
the exact ten best of synthetic pages (one generator, 40 questions, 1,000 to 20,000 pages); with a fortieth
99.3 % at worst, with 100 pages 95 % of those of 5,000 and 55 % of 20,000. Of 1,920 real pages of dev, 98 % of
the ten best are among the first 12 %, and the first 17 % of the sieve; but from 240 to 1,920 these numbers
grew with their third root and their square root, so that of 20,000 it would be 3 and 6 %."""

SIEVE_ROWS = 4
"""Vectors of the shortened query. Twenty of ColPali's cost 8 ms per thousand pages, four 2.5."""


@dataclass(frozen=True, slots=True)
class Stages:
    """How many pages go on from each stage to the next.

    The whole query is compared exactly with the pages that `pooled` and other vectors propose. Before that, a
    shortened query may pick those that are compared by `pooled` at all: the sieve.
    """

    prefetch: Mapping[str, int] = field(default_factory=lambda: PREFETCH)
    """Pages that each vector proposes; one that is not named proposes none."""
    sieve: int = SIEVE
    """Pages that pass the sieve; 0 for all."""

    @classmethod
    def for_pages(cls, pages: int) -> Stages:
        """The defaults of an index of so many pages, which grow with it.

        >>> Stages.for_pages(1000) == Stages()
        True
        >>> large = Stages.for_pages(20_000)
        >>> large.prefetch["pooled"], large.sieve
        (666, 2000)
        """
        pooled = max(PREFETCH[POOLED], pages // POOLED_SHARE)
        return cls({**PREFETCH, POOLED: pooled}, max(SIEVE, pages // SIEVE_SHARE))

    def for_fusion(self) -> Stages:
        """At least as many as hybrid's weights were chosen with: the last page is their measure."""
        names = {**PREFETCH, **self.prefetch}
        more = {name: max(PREFETCH.get(name, 0), self.prefetch.get(name, 0)) for name in names}
        return Stages(more, max(self.sieve, 2 * more[POOLED]) if self.sieve else 0)


def shortened(query: NDArray[np.float32], rows: int = SIEVE_ROWS) -> NDArray[np.float32]:
    """The query in fewer vectors, each the sum of some that are alike, so that MaxSim is about the same.

    Args:
        query: (q, dim)
        rows: At most so many are given.
    """
    return query if len(query) <= rows else sums_of(query, clusters(query, rows))
