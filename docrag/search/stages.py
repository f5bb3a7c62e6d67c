"""How many pages each stage of a search lets through: by default, and as `docrag tune` chose for an index."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from docrag.common.files import write_atomically
from docrag.encode.vectors.pooling import clusters, sums_of
from docrag.errors import StoreError
from docrag.types import BM25, CAPTION, IMAGE, POOLED

logger = logging.getLogger(__name__)

PREFETCH: Mapping[str, int] = {POOLED: 100, BM25: 50, CAPTION: 50, IMAGE: 50}
"""How many pages each vector proposes for exact MaxSim. On the development set, 97 % of the exact ten best
pages are among them."""

SIEVE = 1000
"""How many pages pass the sieve. On 1,504 pages of the development set, 200 already give the same recall
as no sieve, for long questions too."""

POOLED_SHARE, SIEVE_SHARE = 30, 10
"""In a large index, `pooled` proposes one page in 30, and one in 10 passes the sieve.

On synthetic pages (one generator, 40 questions, 1,000 to 20,000 pages) `pooled` alone then found all of
the exact ten best pages. With one in 40 it found 99.3 % at worst; with a constant 100 pages, 95 % in 5,000
and 55 % in 20,000. On 1,920 real pages of the development set, 98 % of the ten best are among the first 12
% by `pooled` and the first 17 % by the sieve. From 240 to 1,920 pages these numbers grew with the cube
root and the square root of the size; at 20,000 pages that would be 3 % and 6 %."""

SIEVE_ROWS = 4
"""Vectors of the shortened query. Twenty vectors of ColPali cost 8 ms per thousand pages, four cost 2.5."""

FILE = "search.json"
"""The file in the directory of an index that holds its tuned plan."""

MAX_GROWTH = 2
"""A tuned plan holds until the index has this many times the pages that were measured. Beyond that, the
exact ten best pages are often not proposed."""


@dataclass(frozen=True, slots=True)
class Stages:
    """How many pages each stage of a search passes on to the next.

    The whole query is compared exactly (MaxSim over `patches`) with the pages that `pooled` and the other
    vectors propose. Before that, a shortened query may select the pages that are compared by `pooled` at
    all: the sieve.
    """

    prefetch: Mapping[str, int] = field(default_factory=lambda: PREFETCH)
    """How many pages each named vector proposes. A vector that is not named proposes none."""
    sieve: int = SIEVE
    """How many pages pass the sieve; 0 turns it off."""

    @classmethod
    def for_pages(cls, pages: int) -> Stages:
        """The defaults for an index of this many pages.

        >>> Stages.for_pages(1000) == Stages()
        True
        >>> large = Stages.for_pages(20_000)
        >>> large.prefetch["pooled"], large.sieve
        (666, 2000)
        """
        pooled = max(PREFETCH[POOLED], pages // POOLED_SHARE)
        return cls({**PREFETCH, POOLED: pooled}, max(SIEVE, pages // SIEVE_SHARE))

    def for_fusion(self) -> Stages:
        """The same stages with at least the default sizes.

        The scores of hybrid search are scaled by the last page of a ranking, and its weights were chosen with
        rankings of the default length.
        """
        names = {**PREFETCH, **self.prefetch}
        prefetch = {name: max(PREFETCH.get(name, 0), self.prefetch.get(name, 0)) for name in names}
        return Stages(prefetch, max(self.sieve, 2 * prefetch[POOLED]) if self.sieve else 0)


@dataclass(frozen=True, slots=True)
class TunedPlan:
    """The stages that `docrag tune` chose for an index."""

    stages: Stages
    measured: Mapping[str, float] = field(default_factory=dict)
    """What the choice is based on: pages of the index, number of questions, recall, milliseconds."""

    def fits(self, pages: int) -> bool:
        """Whether the plan holds for an index of this many pages. Fewer pages than measured do no harm."""
        return pages <= MAX_GROWTH * self.measured["pages"]

    def describe(self, pages: int) -> str:
        """One line about the plan, for an index of this many pages."""
        line = f"on {self.measured['pages']:.0f} pages"
        if not self.fits(pages):
            return f"{line}, too few for {pages}: the defaults are used until docrag tune runs again"
        if "recall" in self.measured:
            line += f", recall {self.measured['recall']:.3f}"
        return line


def stages_for(folder: Path, count_pages: Callable[[], int]) -> Stages:
    """How an index is searched: as it was tuned, unless it has outgrown that; else by its size.

    Args:
        folder: The directory of the index.
        count_pages: Gives the number of its pages.

    Raises:
        StoreError: The file of the tuned plan is damaged.
    """
    plan = load_plan(folder)
    pages = count_pages()
    return plan.stages if plan and plan.fits(pages) else Stages.for_pages(pages)


def load_plan(folder: Path) -> TunedPlan | None:
    """The tuned plan of an index, or None if it was not tuned.

    Raises:
        StoreError: The file is damaged.
    """
    path = folder / FILE
    return parse_plan(path.read_bytes(), path) if path.is_file() else None


def parse_plan(content: bytes, path: Path) -> TunedPlan:
    """Parse what `save_plan` wrote.

    Args:
        content: The content of the file.
        path: The file, for the error.

    Raises:
        StoreError: The content is something else.
    """
    try:
        parsed = json.loads(content)
        prefetch = {str(name): int(pages) for name, pages in parsed["prefetch"].items()}
        measured = {str(name): float(value) for name, value in parsed["measured"].items()}
        measured["pages"] = int(measured["pages"])
        return TunedPlan(Stages(prefetch, int(parsed["sieve"])), measured)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(
            f"{path} is damaged: {error!r}", "remove it, and run docrag tune again if you like"
        ) from error


def save_plan(folder: Path, plan: TunedPlan) -> None:
    """Store a tuned plan in the directory of an index."""
    content = {
        "prefetch": dict(plan.stages.prefetch),
        "sieve": plan.stages.sieve,
        "measured": dict(plan.measured),
    }
    write_atomically(folder / FILE, json.dumps(content, indent=1))
    logger.info("the index in %s is searched as tuned: %s", folder, plan.stages)


def shortened(query: NDArray[np.float32], rows: int = SIEVE_ROWS) -> NDArray[np.float32]:
    """The query with fewer vectors, each the sum of similar ones, so that MaxSim stays about the same.

    Args:
        query: (q, dim)
        rows: The largest number of vectors to return.
    """
    return query if len(query) <= rows else sums_of(query, clusters(query, rows))
