"""Points, page images and manifest of an index: three things on disk that must tell one story."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from docrag.errors import IndexInUse, NotFound
from docrag.ingest.manifest import Manifest
from docrag.ingest.staging import Staging
from docrag.ingest.write_lock import WriteLock
from docrag.store.images import PageImages
from docrag.store.payload import source_metadata

if TYPE_CHECKING:
    from qdrant_client import models

    from docrag.store.base import Store


@dataclass(frozen=True, slots=True)
class Storage:
    """Where documents are kept."""

    store: Store
    images: PageImages
    manifest: Manifest
    write_lock: WriteLock = field(default_factory=WriteLock)
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

    @contextmanager
    def alone(self, should_stop: Callable[[], bool] | None = None) -> Iterator[bool]:
        """Nobody else changes the index meanwhile; other threads of this process wait for their turn.

        Args:
            should_stop: Asked while waiting; None waits as long as it takes.

        Yields:
            Whether it is this thread's turn: not where it was told to stop while it waited.

        Raises:
            IndexInUse: Another process is changing it, or was killed while a migration took its place: what
                is written into the old index then would be lost.
        """
        with self.write_lock.taken(should_stop) as mine:
            if not mine or self.write_lock.depth > 1:
                yield mine
                return
            home = self.images.root.parent
            with self.manifest.alone():
                if Staging(home).decision() is not None:
                    hint = "close it here and open it again, which ends the migration"
                    raise IndexInUse(f"a migration is taking the place of the index in {home}", hint)
                yield True

    def reconcile(self) -> None:
        """Forget that documents were ingested of which the store lacks pages: they are read again.

        A collection on a server can lose them without this machine: emptied, made anew, migrated elsewhere.
        """
        from docrag.store.base import Shared

        there = self.store.facet("metadata.document_id")
        free = self.store.unheld() if isinstance(self.store, Shared) else frozenset[str]()
        for row in self.manifest.documents():
            if row.state not in ("done", "relabel"):
                continue
            if there.get(row.id, 0) < row.pages:
                self.manifest.dropped(row.id)
            elif isinstance(self.store, Shared) and row.id in free:
                self.store.hold(row.id)

    def forget(self, path: str | os.PathLike[str]) -> int:
        """Forget a file; its pages go unless the same content stands at another path too.

        Args:
            path: The path as ingested, or as seen from the working directory; or the id of a document, for
                all of its files.

        Returns:
            How many pages were removed; none where another machine holds them in the same collection.

        Raises:
            NotFound: No such file was ingested.
            IndexInUse: Another process is changing the index.
        """
        absolute = os.path.abspath(path)  # noqa: PTH100 (links are sources of their own)
        with self.alone():
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
