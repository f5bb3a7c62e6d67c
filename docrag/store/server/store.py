"""Records in a collection on a Qdrant server, through qdrant-client."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import uuid4

from qdrant_client import models

from docrag.errors import IndexNotFound, ServerRefused, ServerUnreachable, StoreError
from docrag.store.base import CollectionHealth
from docrag.store.identity import CollectionIdentity
from docrag.store.layout import Fingerprint, Layout, validate_record
from docrag.store.requests import PayloadFilter, QueryRequest
from docrag.store.server import alias
from docrag.store.server.connection import Connection
from docrag.store.server.failures import BUSY, FORBIDDEN
from docrag.store.server.health import collection_health
from docrag.store.server.key_order import KeyOrder
from docrag.store.server.known_limits import KnownLimits
from docrag.store.server.limits import CollectionLimits, chunks
from docrag.store.server.payload_indexes import add_missing_indexes
from docrag.store.server.read import Selection, Step
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
from docrag.store.server.translate import to_filter
from docrag.store.server.upload import Uploader
from docrag.store.server.wire import Condition
from docrag.types import PageRecord, ScoredId

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_MAX_FACETS = 1_000_000
"""Values of a field that one request asks for; more than any index has."""

_SCROLL_SIZE = 256
"""Records without vectors that one request reads."""
_COUNT_SIZE = 10_000
"""Records of which one request reads nothing but the ids, where the server may not count."""
_UPDATES_SIZE = 500
"""Changes of single records that one request holds."""
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
        self._limits = KnownLimits(lambda: connection.info(collection))
        # Nobody reads the payloads of texts in the dashboard, and ids of texts do not follow from content: of
        # two writers of one id, the payload of one could be put beside the vector of the other.
        reorders = layout.has_pages and not connection.wire.keeps_order
        key_order = KeyOrder(connection.client, self._write) if reorders else None
        self._uploader = Uploader(connection, self._write, self._limits, key_order)
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
        """Replace the stored fingerprint by one that names the same weights under another path.

        With a key that may not change the collection, the old path stays, which does no harm.
        """
        name = alias.collection_behind(self.connection, self.collection) or self.collection
        info = self.connection.info(name)
        metadata = fingerprint_metadata(fingerprint, info.config.metadata if info else None)
        try:
            self._change(lambda: self.connection.client.update_collection(name, metadata=metadata))
        except ServerRefused as refused:
            if refused.status != FORBIDDEN:
                raise
            logger.info("the key may not change %s: its fingerprint keeps the old path of the weights", name)

    def identify(self) -> CollectionIdentity | None:
        """Return the identity of the collection, which gets one if an older docrag created it.

        None if the server does not let this machine give it one.
        """
        identity = self._read_identity()
        if not identity:
            name = alias.collection_behind(self.connection, self.collection) or self.collection
            metadata = identity_metadata(uuid4().hex)
            try:
                self._change(lambda: self.connection.client.update_collection(name, metadata=metadata))
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
                than the server accepts, and some of the records may have been written.
            ServerUnreachable: The server does not answer; some of the records may have been written.
            ServerRefused: The server does not accept them.
        """
        self._validate(records)
        self._write_records(records)

    def flush(self) -> None:
        """Do nothing: `upsert` returns after the server has logged and applied the write."""
        self._require_open()

    def query(
        self,
        requests: Sequence[QueryRequest],
        *,
        vectors: Sequence[str] = (),
        payload: Sequence[str] | None = (),
    ) -> list[list[ScoredId]]:
        """Answer several queries in one request, or in more where the server limits them.

        Args:
            requests: The queries.
            vectors: Names of the vectors to read of each page.
            payload: Payload keys to read of each page, nested ones with dots; None reads all.

        Returns:
            For each query a list of pages, best first.
        """
        selection = _selection(vectors, payload)
        return self._limits.within(lambda limits: self._query(requests, selection, limits))

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
        selection = _selection(vectors, payload)
        records: dict[str, PageRecord] = {}
        for start in range(0, len(ids), size):
            for record in self._read(ids[start : start + size], selection):
                records[record.id] = record
        return [records[id] for id in ids if id in records]

    def scroll(
        self, filter: PayloadFilter | None = None, *, payload: Sequence[str] | None = None
    ) -> Iterator[PageRecord]:
        """Yield every record that matches, without vectors."""
        selection = _selection((), payload)
        offset: Any = None
        while True:
            step = self._read_next(filter, selection, offset)
            yield from step.records
            offset = step.offset
            if offset is None:
                return

    def set_payload(
        self, values: Mapping[str, Any], filter: PayloadFilter, *, key: str | None = None
    ) -> None:
        """Set payload values on the records that match; `key` names the nested object to set them in."""
        client, payload = self.connection.client, dict(values)

        def set_within(limits: CollectionLimits) -> None:
            condition = to_filter(limits.fit_filter(filter))
            self._write(lambda: client.set_payload(self.collection, payload, condition, key, wait=True))

        self._limits.within(set_within)

    def set_payloads(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Set payload values on single records, by page id: _UPDATES_SIZE of them in a request.

        Single requests would make the server's optimizer run again and again: 1,945 pages took 29 s.
        """
        changes = [_payload_change(page_id, payload) for page_id, payload in values.items()]
        for start in range(0, len(changes), _UPDATES_SIZE):
            self._update_batch(changes[start : start + _UPDATES_SIZE])

    def delete(self, filter: PayloadFilter) -> None:
        """Remove the records that match; the server frees their space in the background."""
        self._delete(filter)

    def count(self, filter: PayloadFilter | None = None) -> int:
        """Return exactly how many records match."""
        return self._limits.within(lambda limits: self._count(filter, limits))

    def facet(self, key: str) -> dict[str, int]:
        """Return how many records have each value of an indexed keyword field."""
        return self._facet(key)

    def health(self) -> CollectionHealth | None:
        """Return how the collection is; None if it is gone."""
        self._require_open()
        return collection_health(self.connection, self.collection)

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

    def _validate(self, records: Sequence[PageRecord]) -> None:
        """Refuse records that do not fit the layout, or the limits as far as they are known.

        Raises:
            InvalidRecord: One of them does not fit.
        """
        for record in records:
            validate_record(record, self.layout)
            self._limits.current.require_record(record)

    def _delete(
        self,
        filter: PayloadFilter,
        *exceptions: models.Condition,
        ordering: models.WriteOrdering | None = None,
    ) -> None:
        """Remove the records that match a filter and none of the exceptions."""

        def delete_within(limits: CollectionLimits) -> None:
            matching = to_filter(limits.fit_filter(filter))
            if exceptions:
                matching = models.Filter(must=[matching], must_not=list(exceptions))
            selector = models.FilterSelector(filter=matching)
            client = self.connection.client
            self._write(lambda: client.delete(self.collection, selector, wait=True, ordering=ordering))

        self._limits.within(delete_within)

    def _write_records(self, records: Sequence[PageRecord], condition: Condition | None = None) -> None:
        """Write records that were validated, or those of them that meet a condition."""
        self._uploader.send(self.collection, records, condition)

    def _update_batch(self, changes: Sequence[models.UpdateOperation]) -> None:
        """Make one request of several changes, which the server applies in their order."""
        client = self.connection.client
        results = self._change(lambda: client.batch_update_points(self.collection, changes, wait=True))
        for result in results:
            self._require_applied(result.status)

    def _write(self, do: Callable[[], models.UpdateResult | models.UpdateStatus]) -> None:
        """Make a write request that the server must have applied when this returns."""
        result = self._change(do)
        self._require_applied(result.status if isinstance(result, models.UpdateResult) else result)

    def _require_applied(self, status: models.UpdateStatus) -> None:
        if status is not models.UpdateStatus.COMPLETED:
            raise ServerUnreachable(
                f"{self.connection.address}: the server has not applied a write yet ({status.value})",
                "the server is busy: run the same again later; nothing is written twice",
            )

    def _read(self, ids: Sequence[str], selection: Selection) -> list[PageRecord]:
        """Read records in one request, or in parts if it costs more than the server allows in a minute."""
        try:
            return self._call(lambda: self.connection.wire.reader.retrieve(self.collection, ids, selection))
        except ServerRefused as refused:
            if refused.status != BUSY or len(ids) < 2:
                raise
        middle = len(ids) // 2
        return [*self._read(ids[:middle], selection), *self._read(ids[middle:], selection)]

    def _read_next(self, filter: PayloadFilter | None, selection: Selection, offset: Any) -> Step:
        """Read the next records of a scroll."""
        reader, size = self.connection.wire.reader, _COUNT_SIZE if selection.is_empty else _SCROLL_SIZE
        return self._limits.within(
            lambda limits: self._call(
                lambda: reader.scroll(
                    self.collection, limits.fit_filter(filter), selection, limits.cap(size), offset
                )
            )
        )

    def _query(
        self, requests: Sequence[QueryRequest], selection: Selection, limits: CollectionLimits
    ) -> list[list[ScoredId]]:
        """Answer queries in as few requests as the limits allow."""
        pages = self._estimate_pages() if limits.unindexed else 0
        fitted = [limits.fit_query(request, pages) for request in requests]
        parts = [(place, part) for place, fitting in enumerate(fitted) for part in fitting]
        # By id, since a page may move to the next part while others write.
        found: list[dict[str, ScoredId]] = [{} for _ in requests]
        for batch in chunks(parts, limits.search_batch):
            rankings = self._query_batch([part for _, part in batch], selection)
            for (place, _), ranking in zip(batch, rankings, strict=True):
                for page in ranking:
                    found[place].setdefault(page.id, page)
        return [list(pages.values()) for pages in found]

    def _estimate_pages(self) -> int:
        """Return about how many pages there are."""
        info = self.connection.info(self.collection)
        return (info.points_count or 0) if info else 0

    def _query_batch(self, requests: Sequence[QueryRequest], selection: Selection) -> list[list[ScoredId]]:
        """Answer queries in one request."""
        return self._call(lambda: self.connection.wire.reader.query(self.collection, requests, selection))

    def _count(self, filter: PayloadFilter | None, limits: CollectionLimits) -> int:
        """Count exactly; where the server may not do that, by reading the ids."""
        if not limits.allow_exact:
            return sum(1 for _ in self.scroll(filter, payload=()))
        client, fitted = self.connection.client, to_filter(limits.fit_filter(filter))
        return self._call(lambda: client.count(self.collection, fitted, exact=True)).count

    def _facet(self, key: str, filter: PayloadFilter | None = None) -> dict[str, int]:
        """Return how many of the records that match have each value of an indexed keyword field."""
        return self._limits.within(lambda limits: self._count_values(key, filter, limits))

    def _count_values(
        self, key: str, filter: PayloadFilter | None, limits: CollectionLimits
    ) -> dict[str, int]:
        """Count the records with each value; where the server may not tell them all, by reading them."""
        if limits.allow_exact:
            client, size = self.connection.client, limits.cap(_MAX_FACETS)
            fitted = to_filter(limits.fit_filter(filter))
            facet = self._call(
                lambda: client.facet(self.collection, key, facet_filter=fitted, limit=size, exact=True)
            )
            if len(facet.hits) < size:
                return {str(hit.value): hit.count for hit in facet.hits if hit.count}
            logger.info("%s has more values of %s than one request may ask for", self.collection, key)
        counts: Counter[str] = Counter()
        for record in self.scroll(filter, payload=[key]):
            counts.update(_values_of(record.payload, key))
        return dict(counts)

    def _call(self, do: Callable[[], Result]) -> Result:
        """Make a request that changes nothing."""
        return self._request(self.connection.read, do)

    def _change(self, do: Callable[[], Result]) -> Result:
        """Make a request that changes something."""
        return self._request(self.connection.call, do)

    def _request(self, send: Callable[[Callable[[], Result]], Result], do: Callable[[], Result]) -> Result:
        """Make a request through one of the connection's methods."""
        self._require_open()
        return send(do)

    def _require_open(self) -> None:
        if self._closed:
            raise StoreError(f"the index {self.connection.address} is closed")


def _selection(vectors: Sequence[str], payload: Sequence[str] | None) -> Selection:
    return Selection(tuple(vectors), None if payload is None else tuple(payload))


def _values_of(payload: Mapping[str, Any], key: str) -> frozenset[str]:
    """Return the values of a payload field, whose key may name nested objects by dots; none if it is missing.

    >>> sorted(_values_of({"metadata": {"sources": ["a.pdf", "b.pdf"]}}, "metadata.sources"))
    ['a.pdf', 'b.pdf']
    """
    value: Any = payload
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    if value is None:
        return frozenset()
    return frozenset(map(str, value)) if isinstance(value, list) else frozenset([str(value)])


def _payload_change(page_id: str, payload: Mapping[str, Any]) -> models.SetPayloadOperation:
    """Return a change of one record; a filter selects it, because the server refuses ids that are gone."""
    page = models.Filter(must=[models.HasIdCondition(has_id=[page_id])])
    return models.SetPayloadOperation(set_payload=models.SetPayload(payload=dict(payload), filter=page))
