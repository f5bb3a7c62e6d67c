"""One search of an index that is opened for it, as `docrag search` does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docrag.index.index import Index
from docrag.types import Hit

if TYPE_CHECKING:
    from docrag.settings import Settings


def search_index(
    settings: Settings, wanted: Mapping[str, Any], image: Path | None, audio: Path | None
) -> tuple[list[Hit], float]:
    """Search an index once.

    Args:
        settings: Name the index, and how its models are run.
        wanted: The query, k, mode and filter, as `Index.search` takes them.
        image: File of an image that pages should look like.
        audio: File of a recording that pages should match.

    Returns:
        The hits, best first, and the milliseconds that the search took once the index was open.

    Raises:
        IndexNotFound: There is no index.
        QueryError: The index cannot answer such a query.
    """
    with Index.open(settings=settings, create=False) as opened:
        started = time.perf_counter()
        hits = opened.search(**wanted, image=image, audio=audio)
        return hits, (time.perf_counter() - started) * 1000
