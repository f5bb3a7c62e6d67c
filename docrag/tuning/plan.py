"""What `docrag tune` chose for an index, and how far the index may grow until that holds no more."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from docrag.errors import StoreError
from docrag.search.stages import Stages

FILE = "search.json"
"""Stands in the directory of an index."""

GROWTH = 2
"""Times as many pages as were measured: with more, the exact ten best are often not among those proposed."""


@dataclass(frozen=True, slots=True)
class TunedPlan:
    """How an index was tuned."""

    stages: Stages
    measured: Mapping[str, float] = field(default_factory=dict)
    """What it was chosen by: pages of the index, questions, recall, milliseconds."""

    def fits(self, pages: int) -> bool:
        """Whether it holds for an index of so many pages; fewer than were measured do no harm."""
        return pages <= GROWTH * self.measured["pages"]

    def describe(self, pages: int) -> str:
        """In a line, for an index of so many pages."""
        measured = f"on {self.measured['pages']:.0f} pages"
        if not self.fits(pages):
            return f"{measured}, too few for {pages}: the defaults are used until docrag tune runs again"
        return measured + (f", recall {self.measured['recall']:.3f}" if "recall" in self.measured else "")


def plan_of(text: bytes, path: Path) -> TunedPlan:
    """Read what `save_plan` wrote.

    Raises:
        StoreError: It is something else; `path` is named.
    """
    try:
        told = json.loads(text)
        prefetch = {str(name): int(pages) for name, pages in told["prefetch"].items()}
        measured = {str(name): float(value) for name, value in told["measured"].items()}
        return TunedPlan(Stages(prefetch, int(told["sieve"])), {**measured, "pages": int(measured["pages"])})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(
            f"{path} is damaged: {error!r}", "remove it, and run docrag tune again if you like"
        ) from error


def load_plan(home: Path) -> TunedPlan | None:
    """What an index was tuned to, if it was.

    Raises:
        StoreError: The file is damaged.
    """
    path = home / FILE
    return plan_of(path.read_bytes(), path) if path.is_file() else None


def stages_for(home: Path, pages: Callable[[], int]) -> Stages:
    """How an index is searched: as it was tuned, unless it has outgrown that; else as its size asks for.

    Args:
        home: Directory of the index.
        pages: Counts them.

    Raises:
        StoreError: The file is damaged.
    """
    plan, count = load_plan(home), pages()
    return plan.stages if plan and plan.fits(count) else Stages.for_pages(count)


def save_plan(home: Path, plan: TunedPlan) -> None:
    """Keep what an index was tuned to, whole or not at all."""
    draft = home / f".{FILE}"
    told = {
        "prefetch": dict(plan.stages.prefetch),
        "sieve": plan.stages.sieve,
        "measured": dict(plan.measured),
    }
    draft.write_text(json.dumps(told, indent=1))
    draft.replace(home / FILE)
