"""What a store is: it keeps page records and answers queries, whichever engine does the work."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from docrag.store.identity import CollectionIdentity
from docrag.store.requests import PayloadFilter, QueryRequest
from docrag.types import PageRecord, ScoredId


class Store(Protocol):
    """Page records of one index; filters and queries are those of `docrag.store.requests`."""

    def upsert(self, records: Sequence[PageRecord]) -> None:
        """Validate all records, then write them; a record with an existing id replaces it.

        Raises:
            InvalidRecord: A record does not fit the layout; no record is written.
            StorageFull: The disk is full.
        """
        ...

    def flush(self) -> None:
        """Return once everything written would survive a power cut."""
        ...

    def query(
        self,
        requests: Sequence[QueryRequest],
        *,
        vectors: Sequence[str] = (),
        payload: Sequence[str] | None = (),
    ) -> list[list[ScoredId]]:
        """Answer several queries at once; for each a list of pages, best first.

        A page that was removed meanwhile may have no record.

        Args:
            requests: The queries.
            vectors: Names of the vectors to read of each page, into the `record` of its `ScoredId`.
            payload: Payload keys to read of each page, nested ones with dots; None reads all.
        """
        ...

    def retrieve(
        self, ids: Sequence[str], *, vectors: Sequence[str] = (), payload: Sequence[str] | None = None
    ) -> list[PageRecord]:
        """Read records in the order of their ids, leaving out those that do not exist.

        Args:
            ids: Page ids.
            vectors: Names of the vectors to read.
            payload: Payload keys to read, nested ones with dots; None reads all.
        """
        ...

    def scroll(
        self, filter: PayloadFilter | None = None, *, payload: Sequence[str] | None = None
    ) -> Iterator[PageRecord]:
        """Yield every record that matches, without vectors."""
        ...

    def set_payload(
        self, values: Mapping[str, Any], filter: PayloadFilter, *, key: str | None = None
    ) -> None:
        """Set payload values on the records that match; `key` names the nested object to set them in."""
        ...

    def set_payloads(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Set payload values on single records, in their order, in few requests.

        Args:
            values: By page id, what to set at the top level of the payload. Ids that are not stored are
                skipped.
        """
        ...

    def delete(self, filter: PayloadFilter) -> None:
        """Remove the records that match."""
        ...

    def count(self, filter: PayloadFilter | None = None) -> int:
        """Return exactly how many records match."""
        ...

    def facet(self, key: str) -> dict[str, int]:
        """Return how many records have each value of an indexed keyword field."""
        ...

    def version(self) -> Hashable:
        """Return a value that changes whenever any process may have changed the records.

        None means that nobody knows. Note the value before reading what is to be kept until it changes.
        """
        ...

    def optimize(self) -> None:
        """Reorganise the index for search after a large ingest; harmless at any time."""
        ...

    def add_missing_indexes(self) -> None:
        """Make the payload indexes that an older docrag did not make; nothing happens where all exist."""
        ...

    def close(self) -> None:
        """Flush and close the index."""
        ...


@runtime_checkable
class Shared(Protocol):
    """A store that several machines fill: each document has the machines that ingested it as its holders."""

    collection: str
    """The name of the collection that requests use."""
    holder: str
    """The name under which this machine holds documents."""

    def identify(self) -> CollectionIdentity | None:
        """Return the identity of the collection, which gets one if it has none; None if that is refused."""
        ...

    def hold(self, document_ids: Collection[str], holders: frozenset[str] = frozenset()) -> None:
        """Hold all pages of some documents, also on behalf of other machines if they are named."""
        ...

    def holders(self) -> Iterator[tuple[str, frozenset[str]]]:
        """Yield each document with the names of the machines that hold pages of it."""
        ...

    def holders_of(self, filter: PayloadFilter) -> frozenset[str]:
        """Return the names of the machines that hold any of the records that match."""
        ...

    def pages_by_holder(self) -> dict[str, int]:
        """Return how many pages each machine holds."""
        ...

    def held(self) -> dict[str, int]:
        """Return how many pages of each document this machine holds."""
        ...

    def require_current(self) -> None:
        """Check that the index's name still shows these records.

        Raises:
            IndexReplaced: A migration has put others in their place.
            IndexNotFound: The name shows none.
        """
        ...

    def unheld(self) -> frozenset[str]:
        """Return the ids of documents of which this machine does not hold every stored page."""
        ...

    def release(self, names: frozenset[str], filter: PayloadFilter) -> None:
        """Give up the claims of some holders on the records that match; those without another are removed."""
        ...

    def name_sources(self, document_id: str, sources: Sequence[str]) -> None:
        """Let the pages of a document name its files on this machine, and keep those of other machines."""
        ...


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """A copy of a shard that does not answer searches as it should."""

    shard: int
    peer: int
    """The id of the machine that it is on."""
    state: str
    """Such as Dead, Partial or Recovery, as Qdrant calls it."""


@dataclass(frozen=True, slots=True)
class CollectionHealth:
    """How a collection on a Qdrant server is."""

    status: str
    """green, yellow, grey or red, as Qdrant calls it."""
    error: str = ""
    """Why the server could not optimize the collection; empty if it could."""
    inactive_replicas: tuple[ReplicaState, ...] = ()
    """The copies of shards that are not active, in a cluster."""

    def notes(self) -> list[str]:
        """What a person should know, a line each; none if all is well."""
        lines = [_STATUS_NOTES[self.status]] if self.status in _STATUS_NOTES else []
        if self.error:
            lines.append(f"the server could not optimize the collection: {self.error}")
        lines += [
            f"shard {replica.shard} on peer {replica.peer} is not active: {replica.state}"
            for replica in self.inactive_replicas
        ]
        return lines


_STATUS_NOTES: Mapping[str, str] = {
    "yellow": "yellow: the server is optimizing the collection, and searches may be slower meanwhile",
    "grey": "grey: the server has restarted, and optimizes the collection after the next change",
    "red": "red: a change failed on the server and was not made up for; see the server's log",
}


@runtime_checkable
class Monitored(Protocol):
    """A store that can tell how the server is that keeps it."""

    def health(self) -> CollectionHealth | None:
        """How the collection is; None if it is gone."""
        ...
