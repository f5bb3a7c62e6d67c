"""Records in a collection on a Qdrant server, through qdrant-client."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import uuid4

from qdrant_client import models

from docrag.errors import IndexNotFound, InvalidRecord, ServerRefused, ServerUnreachable, StoreError
from docrag.store.identity import CollectionIdentity
from docrag.store.layout import Fingerprint, Layout, page_name, validate_record
from docrag.store.requests import PayloadFilter, QueryRequest
from docrag.store.server import alias
from docrag.store.server.connection import Connection
from docrag.store.server.failures import TOO_LARGE
from docrag.store.server.key_order import KeyOrder
from docrag.store.server.payload_indexes import add_missing_indexes
from docrag.store.server.schema import (
    DEFAULTS,
    CollectionOptions,
    fingerprint_metadata,
    identity_metadata,
    read_fingerprint,
    read_identity,
    read_options,
    require_layout,
)
from docrag.store.server.translate import to_filter, to_query
from docrag.store.server.wire import MAX_REQUEST_BYTES, Condition, PackedPoint, batches, to_record
from docrag.types import PageRecord, ScoredId

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_MAX_FACETS = 1_000_000
"""Values of a field that one request asks for; more than any index has."""

_SCROLL_SIZE = 256
"""Records without vectors that one request reads."""
_RETRIEVE_SIZE = 16
"""Records with vectors that one request reads: 2.6 MB each as JSON."""


def stored_fingerprint(connection: Connection) -> Fingerprint | None:
    """Return what the index at the connection's address was built with; None if there is none.

    Raises:
        StoreError: The collection at the address was not created by docrag.
    """
    info = connection.info(connection.address.collection)
    return read_fingerprint(info, str(connection.address)) if info else None


class ServerStore:
    """A `Store` in a collection on a server; any number of threads and processes may use the collection.

    Use `create`, `open` or `staging`.
    """

    def __init__(self, connection: Connection, collection: str, layout: Layout) -> None:
        self.connection = connection
        self.collection = collection
        """The name that requests use: an alias or a collection."""
        self.layout = layout
        self._max_bytes = MAX_REQUEST_BYTES
        self._key_order = None if connection.wire.keeps_order else KeyOrder(connection.client, self._write)
        self._closed = False

    @classmethod
    def create(
        cls,
        connection: Connection,
        layout: Layout,
        fingerprint: Fingerprint,
        options: CollectionOptions = DEFAULTS,
    ) -> Self:
        """Create an empty index at the connection's address, or complete one that was interrupted.

        If another machine has created it in the meantime, it is opened; see `alias.make_index`.

        Raises:
            IndexMismatch: There is an index at the address that was built with other models.
            StoreError: There is a collection at the address that docrag did not create.
            ServerRefused: The server does not create it.
        """
        alias.make_index(connection, layout, fingerprint, options)
        return cls(connection, connection.address.collection, layout)

    @classmethod
    def open(cls, connection: Connection, layout: Layout) -> Self:
        """Open the index at the connection's address.

        Raises:
            IndexNotFound: There is none.
            IndexMismatch: Its vectors are not those of the layout.
            StoreError: The collection was not created by docrag.
        """
        address = connection.address
        info = connection.info(address.collection)
        if info is None:
            raise IndexNotFound(f"there is no collection {address}", "ingest something first")
        read_fingerprint(info, str(address))
        require_layout(info, layout, str(address))
        return cls(connection, address.collection, layout)

    @classmethod
    def staging(
        cls,
        connection: Connection,
        layout: Layout,
        fingerprint: Fingerprint,
        options: CollectionOptions = DEFAULTS,
        name: str = "",
    ) -> Self:
        """Create or continue a staging collection, while the index at the address keeps answering.

        Once it is filled, `alias.switch_alias` lets the address point to its `collection`. For the arguments
        see `alias.make_staging`.
        """
        collection = alias.make_staging(connection, layout, fingerprint, options, name)
        return cls(connection, collection, layout)

    def fingerprint(self) -> Fingerprint | None:
        """Return what the index was built with; None if the collection no longer exists.

        Raises:
            StoreError: Another collection took its place that docrag did not create.
        """
        info = self.connection.info(self.collection)
        return read_fingerprint(info, self.collection) if info else None

    def set_fingerprint(self, fingerprint: Fingerprint) -> None:
        """Replace the stored fingerprint by one that names the same weights under another path."""
        name = alias.collection_behind(self.connection, self.collection) or self.collection
        info = self.connection.info(name)
        metadata = fingerprint_metadata(fingerprint, info.config.metadata if info else None)
        self._call(lambda: self.connection.client.update_collection(name, metadata=metadata))

    def identify(self) -> CollectionIdentity | None:
        """Return the identity of the collection, which gets one if an older docrag created it.

        None if the server does not let this machine give it one.
        """
        identity = self._read_identity()
        if not identity:
            name = alias.collection_behind(self.connection, self.collection) or self.collection
            metadata = identity_metadata(uuid4().hex)
            try:
                self.connection.call(
                    lambda: self.connection.client.update_collection(name, metadata=metadata)
                )
            except ServerRefused as refused:
                logger.info("%s stays without an id: %s", self.collection, refused.message)
                return None
            identity = self._read_identity()  # that of another machine, if both wrote one
        return CollectionIdentity.of(self.collection, identity)

    def _read_identity(self) -> str:
        info = self.connection.info(self.collection)
        return read_identity(info) if info else ""

    def upsert(self, records: Sequence[PageRecord]) -> None:
        """Validate all records, then write them; a record with an existing id replaces it.

        Requests are limited by bytes, and each returns once its pages can be searched. A request whose answer
        is lost is sent again: ids follow from content, so nothing is written twice.

        Raises:
            InvalidRecord: A record does not fit the layout, and none is written; or a single page is larger
                than the server accepts.
            ServerUnreachable: The server does not answer; some of the records may have been written.
            ServerRefused: The server does not accept them.
        """
        for record in records:
            validate_record(record, self.layout)
        self._write_records(records)

    def flush(self) -> None:
        """Do nothing: `upsert` returns after the server has logged and applied the write."""
        self._require_open()

    def query(self, requests: Sequence[QueryRequest]) -> list[list[ScoredId]]:
        """Answer several queries in one request; for each a list of pages, best first."""
        client, queries = self.connection.client, [to_query(request) for request in requests]
        responses = self._call(lambda: client.query_batch_points(self.collection, queries))
        return [[ScoredId(str(point.id), point.score) for point in response.points] for response in responses]

    def retrieve(
        self, ids: Sequence[str], *, vectors: Sequence[str] = (), payload: Sequence[str] | None = None
    ) -> list[PageRecord]:
        """Read records in the order of their ids, leaving out those that do not exist.

        Args:
            ids: Page ids.
            vectors: Names of the vectors to read.
            payload: Payload keys to read, nested ones with dots; None reads all.
        """
        size = _RETRIEVE_SIZE if vectors else max(1, len(ids))
        records: dict[str, PageRecord] = {}
        for start in range(0, len(ids), size):
            for record in self._read(list(ids[start : start + size]), list(vectors), payload):
                records[record.id] = record
        return [records[id] for id in ids if id in records]

    def scroll(
        self, filter: PayloadFilter | None = None, *, payload: Sequence[str] | None = None
    ) -> Iterator[PageRecord]:
        """Yield every record that matches, without vectors."""
        condition = to_filter(filter)
        offset: Any = None
        while True:
            points, offset = self._read_next(condition, payload, offset)
            yield from map(to_record, points)
            if offset is None:
                return

    def set_payload(
        self, values: Mapping[str, Any], filter: PayloadFilter, *, key: str | None = None
    ) -> None:
        """Set payload values on the records that match; `key` names the nested object to set them in."""
        client, payload, condition = self.connection.client, dict(values), to_filter(filter)
        self._write(lambda: client.set_payload(self.collection, payload, condition, key, wait=True))

    def delete(self, filter: PayloadFilter) -> None:
        """Remove the records that match; the server frees their space in the background."""
        self._delete(to_filter(filter))

    def count(self, filter: PayloadFilter | None = None) -> int:
        """Return exactly how many records match."""
        client, condition = self.connection.client, to_filter(filter)
        return self._call(lambda: client.count(self.collection, condition, exact=True)).count

    def facet(self, key: str) -> dict[str, int]:
        """Return how many records have each value of an indexed keyword field."""
        return self._facet(key)

    def version(self) -> Hashable:
        """Return None: other machines may change the collection, and the server does not say when."""
        return None

    def optimize(self) -> None:
        """Do nothing: the server optimises by itself."""
        self._require_open()

    def add_missing_indexes(self) -> None:
        """Make the payload indexes that an older docrag did not make."""
        info = self.connection.info(self.collection)
        if info is not None:
            add_missing_indexes(self.connection, self.collection, read_options(info))

    def close(self) -> None:
        """Close the connection; closing twice is harmless."""
        self._closed = True
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _delete(self, filter: models.Filter) -> None:
        selector = models.FilterSelector(filter=filter)
        self._write(lambda: self.connection.client.delete(self.collection, selector, wait=True))

    def _write_records(self, records: Sequence[PageRecord], condition: Condition | None = None) -> None:
        """Write records that were validated, or those of them that meet a condition."""
        for batch in batches(map(self.connection.wire.pack, records), self._max_bytes):
            self._send(batch, condition)

    def _send(self, batch: Sequence[PackedPoint], condition: Condition | None = None) -> None:
        """Write a batch, split as often as the server, or a proxy before it, finds it too large."""
        waiting = [batch]
        while waiting:
            points = waiting.pop()
            size = sum(point.size for point in points)
            middle = len(points) // 2
            if middle and size > self._max_bytes:
                logger.info("splitting a batch of %d pages, %d bytes", len(points), size)
                waiting += [points[middle:], points[:middle]]
                continue
            try:
                self._write(partial(self.connection.wire.send, self.collection, points, condition))
                if self._key_order:
                    self._key_order.restore(self.collection, [point.record for point in points])
            except ServerRefused as refused:
                if refused.status != TOO_LARGE:
                    raise
                if not middle:
                    name = page_name(points[0].record)
                    raise InvalidRecord(f"{name}: {size} bytes, {refused.message}", refused.hint) from refused
                # A little more than half, since the two parts are not equally large.
                self._max_bytes = min(self._max_bytes, size * 6 // 10)
                logger.info("the server refused %d bytes: sending at most %d", size, self._max_bytes)
                waiting.append(points)

    def _write(self, do: Callable[[], models.UpdateResult | models.UpdateStatus]) -> None:
        """Make a write request that the server must have applied when this returns."""
        result = self._call(do)
        status = result.status if isinstance(result, models.UpdateResult) else result
        if status is not models.UpdateStatus.COMPLETED:
            raise ServerUnreachable(
                f"{self.connection.address}: the server has not applied a write yet ({status.value})",
                "the server is busy: run the same again later; nothing is written twice",
            )

    def _read(
        self, ids: list[str], vectors: list[str], payload: Sequence[str] | None
    ) -> Iterator[PageRecord]:
        points = self._call(
            lambda: self.connection.client.retrieve(
                self.collection, ids, with_payload=_payload_selector(payload), with_vectors=vectors or False
            )
        )
        return map(to_record, points)

    def _read_next(
        self, filter: models.Filter | None, payload: Sequence[str] | None, offset: Any
    ) -> tuple[list[models.Record], Any]:
        """Read the next records of a scroll; returns them and the offset after them, None at the end."""
        return self._call(
            lambda: self.connection.client.scroll(
                self.collection,
                filter,
                limit=_SCROLL_SIZE,
                offset=offset,
                with_payload=_payload_selector(payload),
            )
        )

    def _facet(self, key: str, filter: PayloadFilter | None = None) -> dict[str, int]:
        """Return how many of the records that match have each value of an indexed keyword field."""
        client, condition = self.connection.client, to_filter(filter)
        facet = self._call(
            lambda: client.facet(self.collection, key, facet_filter=condition, limit=_MAX_FACETS, exact=True)
        )
        return {str(hit.value): hit.count for hit in facet.hits if hit.count}

    def _call(self, do: Callable[[], Result]) -> Result:
        self._require_open()
        return self.connection.call(do)

    def _require_open(self) -> None:
        if self._closed:
            raise StoreError(f"the index {self.connection.address} is closed")


def _payload_selector(keys: Sequence[str] | None) -> bool | list[str]:
    """Return what the client takes as `with_payload`: True for all, False for none, or a list of keys."""
    if keys is None:
        return True
    return list(keys) or False
