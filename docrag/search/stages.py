"""How many pages each stage of a search lets through, and where an index keeps what was measured for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from docrag.encode.pooling import clusters, sums_of
from docrag.errors import StoreError
from docrag.types import BM25, CAPTION, IMAGE, POOLED

FILE = "search.json"
"""Stands in the directory of an index, written by `docrag tune`."""

PREFETCH: Mapping[str, int] = {POOLED: 100, BM25: 50, CAPTION: 50, IMAGE: 50}
"""Pages that each vector proposes for exact MaxSim: 97 % of the exact ten best are among them on dev."""

SIEVE = 1000
"""On 1,504 pages of dev already 200 give the same recall as no sieve, of long questions too."""

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


def load_stages(home: Path) -> Stages:
    """What an index was tuned to, else the defaults.

    Raises:
        StoreError: The file is damaged.
    """
    try:
        told = json.loads((home / FILE).read_text())
        prefetch = {str(name): int(pages) for name, pages in told["prefetch"].items()}
        return Stages(prefetch, int(told["sieve"]))
    except FileNotFoundError:
        return Stages()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(
            f"{home / FILE} is damaged: {error}", "remove it, and run docrag tune again if you like"
        ) from error


def save_stages(home: Path, stages: Stages, measured: Mapping[str, float]) -> None:
    """Keep what an index was tuned to, whole or not at all, with what was measured for people to read."""
    draft = home / f".{FILE}"
    told = {"prefetch": dict(stages.prefetch), "sieve": stages.sieve, "measured": dict(measured)}
    draft.write_text(json.dumps(told, indent=1))
    draft.replace(home / FILE)
