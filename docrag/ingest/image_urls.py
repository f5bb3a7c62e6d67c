"""Where page images are served: every point says it, and all are told when it changes, without encoding."""

from __future__ import annotations

from itertools import chain

from qdrant_client import models

from docrag.store.base import Store
from docrag.store.payload import base_of, image_address

BASE_URL = "http://127.0.0.1:8000"
"""Of a new index for which nothing else is asked."""

_NEEDED = ("image_url", "metadata.document_id", "metadata.page")


def base_url_of(store: Store) -> str | None:
    """Where the page images of an index are served, as its points say; None without any."""
    first = next(iter(store.scroll(payload=["image_url"])), None)
    return None if first is None else base_of(first.payload["image_url"])


def address_images(store: Store, base_url: str) -> int:
    """Let every point say that its image is served there.

    The first point, by which the index is judged, is told last: another call ends what one began.

    Args:
        store: The index; nothing but an address is written.
        base_url: Without a slash at the end.

    Returns:
        How many points said something else.
    """
    if base_url_of(store) == base_url:
        return 0
    records = store.scroll(payload=_NEEDED)
    first = [record for record in [next(records, None)] if record]
    told = 0
    for record in chain(records, first):
        metadata = record.payload["metadata"]
        address = image_address(base_url, metadata["document_id"], metadata["page"] + 1)
        if record.payload["image_url"] != address:
            only = models.Filter(must=[models.HasIdCondition(has_id=[record.id])])
            store.set_payload({"image_url": address}, only)
            told += 1
    store.flush()
    return told
