"""Points, page images and manifest of an index: three things on disk that must tell one story."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from docrag.errors import NotFound
from docrag.ingest.manifest import Manifest
from docrag.ingest.turn import Turn
from docrag.store.images import PageImages
from docrag.store.payload import source_metadata

if TYPE_CHECKING:
    from qdrant_client import models

    from docrag.store.base import Store


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where documents are kept."""

    store: Store
    images: PageImages
    manifest: Manifest
    turn: Turn = field(default_factory=Turn)
    """Of the thread that changes it."""

    def count(self, document_id: str) -> int:
        """Pages of a document that are written."""
        return self.store.count(_document(document_id))

    def written(self, document_id: str, source: str) -> frozenset[int]:
        """Numbers of the pages that an interrupted ingest wrote of a document from the same source."""
        row = self.manifest.document(document_id)
        if row is None or row.source != source:
            return frozenset()
        records = self.store.scroll(_document(document_id), payload=["metadata"])
        read = [record.payload["metadata"] for record in records]
        # A page without words may be one that OCR failed on: it is read again.
        return frozenset(page["page"] + 1 for page in read if page["words_from"] != "none")

    def settle(self) -> None:
        """Let the points follow the manifest: remove stale documents, name the sources of the others."""
        for row in self.manifest.documents("stale"):
            self.drop(row.id)
        for row in self.manifest.documents("relabel"):
            names = source_metadata(self.manifest.sources(row.id))
            self.store.set_payload(names, _document(row.id), key="metadata")
            self.manifest.relabelled(row.id)

    def forget(self, path: str | os.PathLike[str]) -> int:
        """Forget a file; its pages go unless the same content stands at another path too.

        Args:
            path: The path as ingested, or as seen from the working directory; or the id of a document, for
                all of its files.

        Returns:
            How many pages were removed.

        Raises:
            NotFound: No such file was ingested.
        """
        with self.turn.taken():
            return self._forget(path)

    def _forget(self, path: str | os.PathLike[str]) -> int:
        absolute = os.path.abspath(path)  # noqa: PTH100 (links are sources of their own)
        files = self.manifest.files()
        rows = (
            [row for row in files if row.path == absolute]
            or [row for row in files if row.source == str(path)]
            or [row for row in files if row.document_id == str(path)]
        )
        if not rows:
            raise NotFound(f"{path} is not in the index", "give the path as it was ingested")
        before = self.store.count()
        self.manifest.forget([row.path for row in rows])
        self.settle()
        return before - self.store.count()

    def abandon(self, document_id: str) -> None:
        """Remove what an interrupted ingest left of a document that cannot be read any more."""
        row = self.manifest.document(document_id)
        if row is not None and row.state == "writing":
            self.drop(document_id)

    def drop(self, document_id: str) -> None:
        """Remove a document; harmless when repeated, so a kill in between costs nothing."""
        self.store.delete(_document(document_id))
        self.store.flush()
        self.images.remove(document_id)
        self.manifest.dropped(document_id)

    def close(self) -> None:
        """Let go of all three."""
        self.store.close()
        self.manifest.close()


def _document(document_id: str) -> models.Filter:
    from qdrant_client import models

    match = models.MatchValue(value=document_id)
    return models.Filter(must=[models.FieldCondition(key="metadata.document_id", match=match)])
