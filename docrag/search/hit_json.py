"""Hits as JSON, for scripts, other programs and other machines: what faces print and serve."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docrag.types import Hit, Region


def hit_json(hit: Hit) -> dict[str, Any]:
    """The command line's contract for one hit."""
    return {
        "rank": hit.rank,
        "score": round(hit.score, 6),
        "scores": {signal: round(score, 6) for signal, score in hit.scores.items()},
        "file": hit.file,
        "page": hit.page,
        "page_id": hit.page_id,
        "text": hit.text,
        "regions": [
            {
                "box": [round(side, 5) for side in region.box],
                "score": round(region.score, 6),
                "text": region.text,
            }
            for region in hit.regions
        ],
    }


def hit_of(told: Mapping[str, Any], image_path: Path | None = None) -> Hit:
    """A hit as another process told of it.

    Args:
        told: As `hit_json` gives it; more may stand in it.
        image_path: Where its picture is here, if anywhere.
    """
    regions = tuple(
        Region(tuple(region["box"]), region["score"], region["text"]) for region in told["regions"]
    )
    names = ("rank", "score", "scores", "file", "page", "page_id", "text")
    return Hit(**{name: told[name] for name in names}, regions=regions, image_path=image_path)
