"""Points, page images and manifest of an index: three things on disk that must agree with each other.

Every point also names the URL at which its page image is served.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from docrag.common.files import POLL_SECONDS
from docrag.common.forks import ForkAware
from docrag.errors import IndexInUse, StoreError
from docrag.ingest.manifest import FileRow, Manifest
from docrag.ingest.report import WaitingForWriter
from docrag.ingest.staging import Staging
from docrag.store.base import Shared, Store
from docrag.store.identity import note_identity
from docrag.store.images import PageImages
from docrag.store.page_address import PageAddresses
from docrag.store.payload import page_of, source_metadata
from docrag.store.requests import FieldMatch, HasId, PayloadFilter
from docrag.types import PageRecord

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)

DOCUMENT_ID = "metadata.document_id"
STOP_POLL_SECONDS = POLL_SECONDS
"""How often a waiting thread asks whether it should stop."""
ADDRESSES_PER_BATCH = 500
"""How many pages are told a new address in one request to a server."""
DEFAULT_IMAGE_BASE_URL = "http://127.0.0.1:8000"
"""The base URL of the page images of a new index, unless another one is set."""


class WriteLock(ForkAware):
    """Lets one thread at a time change an index.

    A listener may change it from within an ingest (reentrant). A child that is forked meanwhile has a lock of
    its own, which nobody holds.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.RLock()
        self.depth = 0
        """How many times the holding thread has acquired the lock."""

    def after_fork_in_child(self) -> None:
        """Take a new lock: no thread is left that could release the old one."""
        self._lock = threading.RLock()
        self.depth = 0

    @contextmanager
    def acquire(
        self, should_stop: Callable[[], bool] | None = None, on_wait: Callable[[str], None] | None = None
    ) -> Iterator[bool]:
        """Wait until no other thread holds the lock.

        Args:
            should_stop: Asked while waiting; once it returns true, waiting ends. None waits for any time.
            on_wait: Called if this has to wait, with "this process".

        Yields:
            Whether the lock was acquired; false if the thread was told to stop first.
        """
        lock = self._lock
        if not lock.acquire(blocking=False):
            if on_wait:
                on_wait("this process")
            while not lock.acquire(timeout=STOP_POLL_SECONDS if should_stop else -1):
                if should_stop and should_stop():
                    yield False
                    return
        self.depth += 1
        try:
            yield True
        finally:
            if lock is self._lock:  # not so in a child that was forked within
                self.depth -= 1
            lock.release()


@dataclass(frozen=True, slots=True)
class Storage:
    """Everything that an index stores."""

    store: Store
    images: PageImages
    manifest: Manifest
    write_lock: WriteLock = field(default_factory=WriteLock)
    require_current: Callable[[], None] = lambda: None
    """Raises IndexReplaced if a migration has replaced the index since it was opened."""
    name: str = ""
    """The name of the index in the addresses of its page images."""

    def count(self, document_id: str) -> int:
        """How many pages of a document are written."""
        return self.store.count(document_filter(document_id))

    def written_pages(self, document_id: str, source: str) -> frozenset[int]:
        """Numbers of the pages that an interrupted ingest wrote of a document from the same source."""
        row = self.manifest.document(document_id)
        if row is None or row.source != source:
            return frozenset()
        records = self.store.scroll(document_filter(document_id), payload=["metadata"])
        pages = [record.payload["metadata"] for record in records]
        # OCR may have failed on a page without words, so such a page is read again.
        return frozenset(page["page"] + 1 for page in pages if page["words_from"] != "none")

    def settle(self) -> None:
        """Make the points follow the manifest: remove stale documents, update the sources of the others."""
        for row in self.manifest.documents("stale"):
            self.drop(row.id)
        for row in self.manifest.documents("relabel"):
            self.name_sources(row.id)
            self.manifest.relabelled(row.id)

    @contextmanager
    def exclusive(
        self,
        should_stop: Callable[[], bool] | None = None,
        on_wait: Callable[[WaitingForWriter], None] | None = None,
    ) -> Iterator[bool]:
        """Keep everybody else from changing the index; wait until nobody else does so.

        Args:
            should_stop: Asked while waiting; once it returns true, waiting ends. None waits for any time.
            on_wait: Called if this has to wait. If it is None, a warning in the log says for whom.

        Yields:
            Whether this thread may change the index; false if it was told to stop while it waited.

        Raises:
            IndexInUse: This thread is changing the index already through another `Storage`. Or a process was
                killed while a migration replaced the index: anything written to it would then be lost.
            IndexReplaced: A migration has replaced the index since it was opened.
            StoreError: The index is on a read-only file system.
        """
        home = self.images.root.parent
        report = partial(report_wait, home, on_wait)
        with self.write_lock.acquire(should_stop, report) as acquired:
            if not acquired or self.write_lock.depth > 1:
                yield acquired
                return
            lock = self.manifest.wait_for_turn(should_stop, report)
            if lock is None:
                yield False
                return
            with lock:
                if Staging(home).decision() is not None:
                    raise IndexInUse(
                        f"a migration is replacing the index in {home}",
                        "close it here and open it again, which finishes the migration",
                    )
                self.require_current()
                yield True

    def reconcile(self) -> None:
        """Forget documents of which the store lacks pages, so that they are read again.

        A collection on a server can lose pages without this machine noticing: it may have been emptied,
        recreated, or migrated elsewhere.
        """
        stored = self.store.facet(DOCUMENT_ID)
        done = [row for row in self.manifest.documents() if row.state in ("done", "relabel")]
        complete = frozenset(row.id for row in done if stored.get(row.id, 0) >= row.pages)
        for row in done:
            if row.id not in complete:
                logger.info("%s: pages are missing in the store, it is read again", row.source)
                self.manifest.dropped(row.id)
        if isinstance(self.store, Shared):
            self.store.hold(complete & self.store.unheld())
            if identity := self.store.identify():
                note_identity(self.images.root.parent, identity)

    def forget(self, files: Sequence[FileRow]) -> None:
        """Forget files, and remove the documents that have no other file.

        If the pages cannot be removed, the manifest keeps the files: they are still in the index.

        Raises:
            StoreError: The pages cannot be removed.
        """
        self.manifest.forget([file.path for file in files])
        try:
            self.settle()
        except StoreError:
            remaining = [file for file in files if self.manifest.document(file.document_id)]
            self.manifest.assign(remaining)
            logger.info("%d files stay in the index: their pages could not be removed", len(remaining))
            raise

    def abandon(self, document_id: str) -> None:
        """Remove what an interrupted ingest left of a document that can no longer be read."""
        row = self.manifest.document(document_id)
        if row is not None and row.state == "writing":
            self.drop(document_id)

    def drop(self, document_id: str) -> None:
        """Remove a document. This can be repeated, so a kill in between does no harm."""
        self.store.delete(document_filter(document_id))
        self.store.flush()
        self.images.remove(document_id)
        self.manifest.dropped(document_id)

    def page_addresses(self) -> PageAddresses | None:
        """Where page images are served, as the points say; None if they do not, or if there are none."""
        return PageAddresses.read(self._first_image_url() or "")

    def image_base_url(self) -> str | None:
        """The base URL of the page images that the points name.

        It is empty if what they name is not the address of a page image, and None if there are no points.
        """
        image_url = self._first_image_url()
        if image_url is None:
            return None
        addresses = PageAddresses.read(image_url)
        return addresses.base_url if addresses else ""

    def addresses_for(self, base_url: str | None, otherwise: str = "") -> PageAddresses:
        """Where the images of pages that are about to be written are served.

        Args:
            base_url: The base URL that was asked for; None for that of the points.
            otherwise: The base URL if the points have none; empty for the default.
        """
        if base_url:
            return PageAddresses(base_url, self.name)
        default = PageAddresses(otherwise or DEFAULT_IMAGE_BASE_URL, self.name)
        return self.page_addresses() or default

    def _first_image_url(self) -> str | None:
        """What the first point names as its image; None if there are no points."""
        first = next(iter(self.store.scroll(payload=["image_url"])), None)
        return None if first is None else str(first.payload.get("image_url", ""))

    def update_image_urls(self, base_url: str) -> int:
        """Make every point name its page image under a base URL. Nothing is encoded.

        Args:
            base_url: Without a slash at the end.

        Returns:
            The number of points that were changed.
        """
        addresses = PageAddresses(base_url, self.name)
        if self.page_addresses() == addresses:
            return 0
        changed = 0
        records = self.store.scroll(payload=("image_url", "metadata.document_id", "metadata.page"))
        changes = _address_changes(_first_record_last(records), addresses)
        while batch := dict(islice(changes, ADDRESSES_PER_BATCH)):
            self.store.set_payloads(batch)
            changed += len(batch)
        self.store.flush()
        logger.info("%d pages name their images under %s now", changed, base_url)
        return changed

    def name_sources(self, document_id: str) -> None:
        """Let the pages of a document name its present sources; those that name them already stay unwritten.

        A page that is written again leaves a copy behind, which Qdrant counts in the frequency of terms until
        it is cleaned up.
        """
        sources = self.manifest.sources(document_id)
        if isinstance(self.store, Shared):
            self.store.name_sources(document_id, sources)
            self._name_pages(document_id)
            return
        names = source_metadata(sources)
        keys = [f"metadata.{name}" for name in names]
        outdated = tuple(
            record.id
            for record in self.store.scroll(document_filter(document_id), payload=keys)
            if record.payload.get("metadata") != names
        )
        if outdated:
            logger.debug("%d pages of %s name their sources anew", len(outdated), names["source"])
            self.store.set_payload(names, PayloadFilter(must=(HasId(outdated),)), key="metadata")
            self._name_pages(document_id)

    def _name_pages(self, document_id: str) -> None:
        """Let the line that names each page to people name the file as the metadata does."""
        changes: dict[str, dict[str, str]] = {}
        fields = ("page_of", "metadata.file_name", "metadata.page", "metadata.total_pages")
        for record in self.store.scroll(document_filter(document_id), payload=fields):
            if "page_of" not in record.payload:  # of an older docrag; a new key would come after all others
                continue
            metadata = record.payload["metadata"]
            name = page_of(metadata["file_name"], metadata["page"] + 1, metadata["total_pages"])
            if record.payload["page_of"] != name:
                changes[record.id] = {"page_of": name}
        if changes:
            self.store.set_payloads(changes)

    def close(self) -> None:
        """Close all three parts."""
        self.store.close()
        self.manifest.close()


def report_wait(home: Path, on_wait: Callable[[WaitingForWriter], None] | None, holder: str) -> None:
    """Say for whom somebody waits who is to change an index: to a listener, or with a warning in the log.

    Args:
        home: The directory of the index.
        on_wait: The listener, if there is one.
        holder: Who is changing the index.
    """
    level = logging.INFO if on_wait else logging.WARNING
    logger.log(level, "waiting for %s, which is changing the index in %s", holder, home)
    if on_wait:
        on_wait(WaitingForWriter(holder))


def document_filter(document_id: str) -> PayloadFilter:
    """A filter for all pages of a document."""
    return PayloadFilter(must=(FieldMatch(DOCUMENT_ID, (document_id,)),))


def _address_changes(
    records: Iterator[PageRecord], addresses: PageAddresses
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the id and the new values of every record that names its image elsewhere."""
    for record in records:
        metadata = record.payload["metadata"]
        url = addresses.of(metadata["document_id"], metadata["page"] + 1)
        if record.payload.get("image_url") != url:
            yield record.id, {"image_url": url}


def _first_record_last(records: Iterator[PageRecord]) -> Iterator[PageRecord]:
    """The records with the first one moved to the end.

    `Storage.page_addresses` looks at the first record. Since that one is changed last, an update that was
    interrupted is repeated.
    """
    first = next(records, None)
    yield from records
    if first is not None:
        yield first
