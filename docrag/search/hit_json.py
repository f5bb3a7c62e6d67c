"""Hits as JSON: what the command line prints and the server answers."""

from __future__ import annotations

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
