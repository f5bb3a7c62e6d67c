"""Hits as JSON: what the command line prints and the server answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docrag.types import Hit, Region


def hit_json(hit: Hit) -> dict[str, Any]:
    """One hit in the form that scripts rely on."""
    return {
        "rank": hit.rank,
        "score": round(hit.score, 6),
        "scores": {signal: round(score, 6) for signal, score in hit.scores.items()},
        "file": hit.file,
        "page": hit.page,
        "page_id": hit.page_id,
        "text": hit.text,
        "regions": [_region_json(region) for region in hit.regions],
    }


def _region_json(region: Region) -> dict[str, Any]:
    return {
        "box": [round(side, 5) for side in region.box],
        "score": round(region.score, 6),
        "text": region.text,
    }


def hit_of(parsed: Mapping[str, Any], image_path: Path | None = None) -> Hit:
    """A hit out of its JSON form.

    Args:
        parsed: What `hit_json` gives; additional keys are ignored.
        image_path: The file of the page image on this machine, if there is one.
    """
    regions = tuple(
        Region(tuple(region["box"]), region["score"], region["text"]) for region in parsed["regions"]
    )
    names = ("rank", "score", "scores", "file", "page", "page_id", "text")
    return Hit(**{name: parsed[name] for name in names}, regions=regions, image_path=image_path)
