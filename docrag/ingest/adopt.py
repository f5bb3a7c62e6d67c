"""Documents that are stored and that the manifest of this machine does not know.

Another machine may have ingested them into the same collection. Or the manifest is lost, or an older snapshot
of the collection was restored.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from docrag.ingest.storage import DOCUMENT_ID, Storage, document_filter
from docrag.store.base import Shared
from docrag.types import page_id

logger = logging.getLogger(__name__)


def adopt(storage: Storage, document_ids: Collection[str]) -> dict[str, int]:
    """Hold documents that are stored already, so that nothing of them has to be read or encoded.

    Args:
        storage: The index, which nobody else on this machine changes meanwhile.
        document_ids: Contents of files. Those that the manifest knows are left out.

    Returns:
        The number of pages of each document of which every page is stored, and held by this machine.
    """
    unknown = [each for each in document_ids if storage.manifest.document(each) is None]
    if not unknown:
        return {}
    complete = _complete(storage, unknown, storage.store.facet(DOCUMENT_ID))
    if complete and isinstance(storage.store, Shared):
        storage.store.hold(complete)
        # Another machine may have removed pages until this one held them.
        complete = _complete(storage, complete, storage.store.held())
    logger.info("%d of %d new documents are stored already", len(complete), len(unknown))
    return complete


def unlisted_documents(storage: Storage) -> dict[str, tuple[str, ...]]:
    """The documents that are stored and that no file here belongs to, by id, with the paths that they name.

    Documents of other machines do not count.
    """
    store = storage.store
    stored = store.held() if isinstance(store, Shared) else store.facet(DOCUMENT_ID)
    unlisted = stored.keys() - {row.id for row in storage.manifest.documents()}
    sources = {}
    for document_id in sorted(unlisted):
        page = next(store.scroll(document_filter(document_id), payload=["metadata.sources"]), None)
        if page is not None:
            sources[document_id] = tuple(page.payload["metadata"]["sources"])
    return sources


def _complete(storage: Storage, document_ids: Collection[str], stored: Mapping[str, int]) -> dict[str, int]:
    """The number of pages of those documents of which every page is among the stored ones."""
    first_pages = [page_id(each, 1) for each in document_ids if each in stored]
    if not first_pages:
        return {}
    complete = {}
    for record in storage.store.retrieve(first_pages, payload=[DOCUMENT_ID, "metadata.total_pages"]):
        metadata = record.payload["metadata"]
        if stored[metadata["document_id"]] == metadata["total_pages"]:
            complete[metadata["document_id"]] = metadata["total_pages"]
    return complete
