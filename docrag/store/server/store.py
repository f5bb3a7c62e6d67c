"""Records on a Qdrant server, by qdrant-client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from qdrant_client import models

from docrag.errors import IndexNotFound, InvalidRecord, ServerRefused, ServerUnreachable, StoreError
from docrag.store.layout import Fingerprint, Layout, check, page_name
from docrag.store.server import alias
from docrag.store.server.connection import Connection
from docrag.store.server.failures import TOO_LARGE
from docrag.store.server.schema import (
    DEFAULTS,
    CollectionOptions,
    fingerprint_metadata,
    read_fingerprint,
    require_layout,
)
from docrag.store.server.wire import MOST_BYTES, Packed, batches, record_of
from docrag.types import PageRecord, ScoredId

Result = TypeVar("Result")

_SCROLL = 256
_WITH_VECTORS = 16
"""Pages read in one request with their vectors: 2.6 MB each as JSON."""
_FACETS = 1_000_000


def stored_fingerprint(connection: Connection) -> Fingerprint | None:
    """What the index at the connection's address was built with; None where nothing is there.

    Raises:
        StoreError: A collection is there that docrag did not make.
    """
    info = connection.info(connection.address.collection)
    return read_fingerprint(info, str(connection.address)) if info else None


class ServerStore:
    """A `Store` in a collection on a server; its methods may be called from many threads and processes.

    Use `create`, `open` or `beside`.
    """

    def __init__(self, connection: Connection, collection: str, layout: Layout) -> None:
        self.connection = connection
        self.collection = collection
        """As requests name it: an alias or a collection."""
        self.layout = layout
        self._most_bytes = MOST_BYTES
        self._closed = False

    @classmethod
    def create(
        cls,
        connection: Connection,
        layout: Layout,
        fingerprint: Fingerprint,
        options: CollectionOptions = DEFAULTS,
    ) -> Self:
        """Make an empty index at the connection's address; one that was half made is made whole.

        Raises:
            StoreError: There is something at the address already.
            ServerRefused: The server does not make it.
        """
        name = connection.address.collection
        if alias.collection_behind(connection, name):
            raise StoreError(f"{connection.address} exists already", "open it, or choose another name")
        alias.switch_alias(connection, name, alias.make_beside(connection, layout, fingerprint, options))
        return cls(connection, name, layout)

    @classmethod
    def open(cls, connection: Connection, layout: Layout) -> Self:
        """Open the index at the connection's address.

        Raises:
            IndexNotFound: There is none.
            IndexMismatch: It has other vectors than the layout.
            StoreError: docrag did not make what is there.
        """
        address = connection.address
        info = connection.info(address.collection)
        if info is None:
            raise IndexNotFound(f"there is no collection {address}", "ingest something first")
        read_fingerprint(info, str(address))
        require_layout(info, layout, str(address))
        return cls(connection, address.collection, layout)

    @classmethod
    def beside(
        cls,
        connection: Connection,
        layout: Layout,
        fingerprint: Fingerprint,
        options: CollectionOptions = DEFAULTS,
        name: str = "",
    ) -> Self:
        """An index built anew while the one at the address goes on answering; one that was begun goes on.

        When it is filled, `alias.switch_alias` lets the address point to its `collection`, which is made by
        the name, where one is given.
        """
        return cls(connection, alias.make_beside(connection, layout, fingerprint, options, name), layout)

    def fingerprint(self) -> Fingerprint | None:
        """What the index was built with; None where the collection is gone.

        Raises:
            StoreError: Another collection took its place, which docrag did not make.
        """
        info = self.connection.info(self.collection)
        return read_fingerprint(info, self.collection) if info else None

    def set_fingerprint(self, fingerprint: Fingerprint) -> None:
        """Note that the same weights are found elsewhere from now on."""
        name = alias.collection_behind(self.connection, self.collection) or self.collection
        metadata = fingerprint_metadata(fingerprint)
        self._call(lambda: self.connection.client.update_collection(name, metadata=metadata))

    def upsert(self, records: Sequence[PageRecord]) -> None:
        """Write records, all of them validated first; an id that exists is replaced.

        Requests are cut by bytes, and each returns when its pages can be searched. A request whose answer is
        lost is sent again: ids follow from content, so nothing is written twice.

        Raises:
            InvalidRecord: A record does not fit the layout and none is written; or one page is larger than
                the server takes.
            ServerUnreachable: The server does not answer; some of the records may be written.
            ServerRefused: The server does not take them.
        """
        for record in records:
            check(record, self.layout)
        for batch in batches(map(self.connection.wire.pack, records), self._most_bytes):
            self._send(batch)

    def flush(self) -> None:
        """Does nothing: `upsert` returns when the server has written its log and applied it."""
        self._require_open()

    def query(self, requests: Sequence[models.QueryRequest]) -> list[list[ScoredId]]:
        """Answer queries in one round; a list of pages for each, best first."""
        client = self.connection.client
        answers = self._call(lambda: client.query_batch_points(self.collection, list(requests)))
        return [[ScoredId(str(point.id), point.score) for point in answer.points] for answer in answers]

    def retrieve(
        self, ids: Sequence[str], *, vectors: Sequence[str] = (), payload: Sequence[str] | None = None
    ) -> list[PageRecord]:
        """Read records in the order of ids, those that do not exist left out.

        Args:
            ids: Page ids.
            vectors: Names of the vectors to read.
            payload: Payload keys to read, nested ones with dots; None reads all.
        """
        step = _WITH_VECTORS if vectors else max(1, len(ids))
        found: dict[str, PageRecord] = {}
        for start in range(0, len(ids), step):
            some = list(ids[start : start + step])
            found |= {record.id: record for record in self._read(some, list(vectors), payload)}
        return [found[id] for id in ids if id in found]

    def scroll(
        self, filter: models.Filter | None = None, *, payload: Sequence[str] | None = None
    ) -> Iterator[PageRecord]:
        """Every record that matches, without vectors."""
        offset: Any = None
        while True:
            found, offset = self._screen(filter, payload, offset)
            yield from map(record_of, found)
            if offset is None:
                return

    def set_payload(
        self, values: Mapping[str, Any], filter: models.Filter, *, key: str | None = None
    ) -> None:
        """Set payload values on the records that match; `key` names the nested object to set them in."""
        client, payload = self.connection.client, dict(values)
        self._write(lambda: client.set_payload(self.collection, payload, filter, key, wait=True))

    def delete(self, filter: models.Filter) -> None:
        """Remove the records that match; the server gives the space back when it finds time."""
        selector = models.FilterSelector(filter=filter)
        self._write(lambda: self.connection.client.delete(self.collection, selector, wait=True))

    def count(self, filter: models.Filter | None = None) -> int:
        """How many records match, exactly."""
        client = self.connection.client
        return self._call(lambda: client.count(self.collection, filter, exact=True)).count

    def facet(self, key: str) -> dict[str, int]:
        """How many records have each value of an indexed keyword field."""
        client = self.connection.client
        found = self._call(lambda: client.facet(self.collection, key, limit=_FACETS, exact=True))
        return {str(hit.value): hit.count for hit in found.hits if hit.count}

    def optimize(self) -> None:
        """Does nothing: the server reorganises by itself."""
        self._require_open()

    def close(self) -> None:
        """Close the connections; twice is harmless."""
        self._closed = True
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, batch: Sequence[Packed]) -> None:
        """Write a batch; halves of it where the server, or a proxy before it, finds it too large."""
        waiting = [batch]
        while waiting:
            part = waiting.pop()
            size, middle = sum(packed.size for packed in part), len(part) // 2
            if middle and size > self._most_bytes:
                waiting += [part[middle:], part[:middle]]
                continue
            try:
                self._write(partial(self.connection.wire.send, self.collection, part))
            except ServerRefused as refused:
                if refused.status != TOO_LARGE:
                    raise
                if not middle:
                    name = page_name(part[0].record)
                    raise InvalidRecord(f"{name}: {size} bytes, {refused.message}", refused.hint) from refused
                self._most_bytes = min(self._most_bytes, size * 6 // 10)  # halves are not quite equal
                waiting.append(part)

    def _write(self, do: Callable[[], models.UpdateResult | models.UpdateStatus]) -> None:
        """Do something that the server must have applied when this returns."""
        told = self._call(do)
        status = told.status if isinstance(told, models.UpdateResult) else told
        if status is not models.UpdateStatus.COMPLETED:
            raise ServerUnreachable(
                f"{self.connection.address}: the server has not applied a write yet ({status.value})",
                "it is busy: do the same again later, which writes nothing twice",
            )

    def _read(
        self, ids: list[str], vectors: list[str], payload: Sequence[str] | None
    ) -> Iterator[PageRecord]:
        found = self._call(
            lambda: self.connection.client.retrieve(
                self.collection, ids, with_payload=_payload_keys(payload), with_vectors=vectors or False
            )
        )
        return map(record_of, found)

    def _screen(
        self, filter: models.Filter | None, payload: Sequence[str] | None, offset: Any
    ) -> tuple[list[models.Record], Any]:
        return self._call(
            lambda: self.connection.client.scroll(
                self.collection, filter, limit=_SCROLL, offset=offset, with_payload=_payload_keys(payload)
            )
        )

    def _call(self, do: Callable[[], Result]) -> Result:
        self._require_open()
        return self.connection.call(do)

    def _require_open(self) -> None:
        if self._closed:
            raise StoreError(f"the index {self.connection.address} is closed")


def _payload_keys(keys: Sequence[str] | None) -> bool | list[str]:
    """What the client calls `with_payload`."""
    return True if keys is None else list(keys) or False
