"""Where page images are served.

Every point names the URL of its image; a change rewrites them without encoding.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from docrag.store.base import Store
from docrag.store.payload import base_of, image_address
from docrag.types import PageRecord

if TYPE_CHECKING:
    from qdrant_client import models

logger = logging.getLogger(__name__)

DEFAULT_BASE_URL = "http://127.0.0.1:8000"
"""The base URL of a new index, unless another one is set."""

_PAYLOAD = ("image_url", "metadata.document_id", "metadata.page")


def base_url_of(store: Store) -> str | None:
    """The base URL that the points of an index name, or None if it has no points."""
    first = next(iter(store.scroll(payload=["image_url"])), None)
    return None if first is None else base_of(first.payload["image_url"])


def update_image_urls(store: Store, base_url: str) -> int:
    """Make every point name its image under a base URL.

    Args:
        store: The points; only their image URLs are changed.
        base_url: Without a slash at the end.

    Returns:
        The number of points that were changed.
    """
    if base_url_of(store) == base_url:
        return 0
    changed = 0
    for record in _first_record_last(store.scroll(payload=_PAYLOAD)):
        metadata = record.payload["metadata"]
        url = image_address(base_url, metadata["document_id"], metadata["page"] + 1)
        if record.payload["image_url"] != url:
            store.set_payload({"image_url": url}, _only(record.id))
            changed += 1
    store.flush()
    logger.info("%d pages name their images under %s now", changed, base_url)
    return changed


def _first_record_last(records: Iterator[PageRecord]) -> Iterator[PageRecord]:
    """The records with the first one moved to the end.

    `base_url_of` looks at the first record. Because it is changed last, a call that was interrupted is
    repeated.
    """
    first = next(records, None)
    yield from records
    if first is not None:
        yield first


def _only(page_id: str) -> models.Filter:
    from qdrant_client import models

    return models.Filter(must=[models.HasIdCondition(has_id=[page_id])])
