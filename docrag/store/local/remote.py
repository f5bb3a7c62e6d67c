"""Records in a folder whose shard another process holds: the engine's own process."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from docrag.common.rpc.client import Client, RpcConnection
from docrag.common.rpc.codec import Json
from docrag.errors import IndexMismatch, IndexNotFound, IndexReplaced, StoreError
from docrag.store.layout import Fingerprint, Layout
from docrag.store.local.process import EngineProcess
from docrag.store.local.scroll import scroll_in_steps
from docrag.store.local.wire import unpack_answer, unpack_records
from docrag.store.requests import PayloadFilter, QueryRequest
from docrag.types import PageRecord, ScoredId

logger = logging.getLogger(__name__)


class RemoteStore:
    """A `Store` in a folder, for any number of processes; its methods may be called from many threads.

    All methods may be repeated without harm, and are, if the engine's process ends before it has answered.

    Args:
        process: The engine's process of the folder; it is started when it is needed.
        fingerprint: What the index is expected to be built with, checked with each new connection.
        layout: Its named vectors. The records are created if there are none.

    Raises:
        IndexInUse: Another process holds the folder without sharing it.
        IndexMismatch: The index was built with other encoders, or its vectors are not those of the layout.
        StoreError: The engine's process cannot be started.
    """

    def __init__(self, process: EngineProcess, fingerprint: Fingerprint, layout: Layout) -> None:
        self.process = process
        self.layout = layout
        self._fingerprint = fingerprint
        self._client = Client(self._connect, process.broken)
        self._unflushed = False
        self._closed = False
        self._was_open = False
        self._client.call("version")  # tells at once what is wrong with the index
        self._was_open = True

    @property
    def path(self) -> Path:
        """The folder of the index."""
        return self.process.folder

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the engine's process that is not one of a store, such as those of encoders."""
        return self._client.call(method, *arguments, **options)

    def upsert(self, records: Sequence[PageRecord]) -> None:
        """Validate all records, then write them; a record with an existing id replaces it.

        Raises:
            InvalidRecord: A record does not fit the layout; no record is written.
            StorageFull: The disk is full.
        """
        self._unflushed = True
        self._client.call("upsert", list(records))

    def flush(self) -> None:
        """Return once everything written would survive a power cut."""
        self._client.call("flush")
        self._unflushed = False

    def query(
        self,
        requests: Sequence[QueryRequest],
        *,
        vectors: Sequence[str] = (),
        payload: Sequence[str] | None = (),
    ) -> list[list[ScoredId]]:
        """Answer several queries at once; for each a list of pages, best first.

        Args:
            requests: The queries.
            vectors: Names of the vectors to read of each page, into the `record` of its `ScoredId`.
            payload: Payload keys to read of each page, nested ones with dots; None reads all.
        """
        keys = None if payload is None else list(payload)
        answer = self._client.call("query", list(requests), list(vectors), keys)
        return unpack_answer(answer)

    def retrieve(
        self, ids: Sequence[str], *, vectors: Sequence[str] = (), payload: Sequence[str] | None = None
    ) -> list[PageRecord]:
        """Read records in the order of their ids, leaving out those that do not exist.

        Args:
            ids: Page ids.
            vectors: Names of the vectors to read.
            payload: Payload keys to read, nested ones with dots; None reads all.
        """
        keys = None if payload is None else list(payload)
        return unpack_records(self._client.call("retrieve", list(ids), list(vectors), keys))

    def scroll(
        self, filter: PayloadFilter | None = None, *, payload: Sequence[str] | None = None
    ) -> Iterator[PageRecord]:
        """Yield every record that matches, without vectors."""
        keys = None if payload is None else list(payload)
        return scroll_in_steps(lambda offset: self._client.call("scroll", filter, keys, offset))

    def set_payload(
        self, values: Mapping[str, Any], filter: PayloadFilter, *, key: str | None = None
    ) -> None:
        """Set payload values on the records that match; `key` names the nested object to set them in."""
        self._unflushed = True
        self._client.call("set_payload", Json(dict(values)), filter, key)

    def set_payloads(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Set payload values on single records, by page id."""
        self._unflushed = True
        self._client.call("set_payloads", Json({id: dict(payload) for id, payload in values.items()}))

    def delete(self, filter: PayloadFilter) -> None:
        """Remove the records that match."""
        self._unflushed = True
        self._client.call("delete", filter)

    def count(self, filter: PayloadFilter | None = None) -> int:
        """Return exactly how many records match."""
        count: int = self._client.call("count", filter)
        return count

    def facet(self, key: str) -> dict[str, int]:
        """Return how many records have each value of an indexed keyword field."""
        counts: dict[str, int] = self._client.call("facet", key)
        return counts

    def optimize(self) -> None:
        """Free the space of removed and replaced pages, once they are a fifth of the index."""
        self._client.call("optimize")

    def add_missing_indexes(self) -> None:
        """Make the payload indexes that an older docrag did not make."""
        self._client.call("add_missing_indexes")

    def version(self) -> Hashable:
        """Return a value that changes whenever any process may have changed the records."""
        version: Hashable = self._client.call("version")
        return version

    def close(self) -> None:
        """Flush what this handle has written; closing twice is harmless.

        The engine's process stays, for others and for later.

        Raises:
            StoreError: What was written could not be flushed.
        """
        try:
            if self._unflushed:
                self.flush()
        except IndexNotFound:
            logger.info("%s is gone: there is nothing to flush", self.path)
        finally:
            self._closed = True
            self._client.close()

    def _connect(self) -> RpcConnection:
        """A connection for which the engine's process has opened the index that this handle expects."""
        if self._closed:
            raise StoreError(f"the index {self.path} is closed", "open it again")
        if not self.process.folder.is_dir():
            raise IndexNotFound(f"{self.process.folder} is gone", "make it again: docrag ingest FOLDER")
        connection = self.process.connect()
        try:
            connection.call("open", Json(dict(self._fingerprint.values)), self.layout)
        except IndexMismatch as error:
            connection.close()
            if not self._was_open:
                raise
            hint = f"open it again; {error.message}"
            raise IndexReplaced(f"{self.path} was migrated after it was opened", hint) from error
        except BaseException:
            connection.close()
            raise
        return connection
