"""What a store is: where records are kept and queries answered, whichever engine does it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from docrag.types import PageRecord, ScoredId

if TYPE_CHECKING:
    from qdrant_client import models


class Store(Protocol):
    """Keeps page records; filters and queries are those of qdrant_client.models."""

    def upsert(self, records: Sequence[PageRecord]) -> None:
        """Write records, all of them validated first; an id that exists is replaced.

        Raises:
            InvalidRecord: A record does not fit the layout; none of the batch is written.
            StorageFull: The disk is full.
        """
        ...

    def flush(self) -> None:
        """Return once all that was written survives a power cut."""
        ...

    def query(self, requests: Sequence[models.QueryRequest]) -> list[list[ScoredId]]:
        """Answer queries in one round; a list of pages for each, best first."""
        ...

    def retrieve(
        self, ids: Sequence[str], *, vectors: Sequence[str] = (), payload: Sequence[str] | None = None
    ) -> list[PageRecord]:
        """Read records in the order of ids, those that do not exist left out.

        Args:
            ids: Page ids.
            vectors: Names of the vectors to read.
            payload: Payload keys to read, nested ones with dots; None reads all.
        """
        ...

    def scroll(
        self, filter: models.Filter | None = None, *, payload: Sequence[str] | None = None
    ) -> Iterator[PageRecord]:
        """Every record that matches, without vectors."""
        ...

    def set_payload(
        self, values: Mapping[str, Any], filter: models.Filter, *, key: str | None = None
    ) -> None:
        """Set payload values on the records that match; `key` names the nested object to set them in."""
        ...

    def delete(self, filter: models.Filter) -> None:
        """Remove the records that match."""
        ...

    def count(self, filter: models.Filter | None = None) -> int:
        """How many records match, exactly."""
        ...

    def facet(self, key: str) -> dict[str, int]:
        """How many records have each value of an indexed keyword field."""
        ...

    def optimize(self) -> None:
        """Reorganise for search after a large ingest; harmless at any time."""
        ...

    def close(self) -> None:
        """Flush and let go of the index."""
        ...


@runtime_checkable
class Shared(Protocol):
    """A store that others fill too, from other machines: documents have holders."""

    holder: str
    """The name by which this one holds documents."""

    def hold(self, document_id: str, holders: frozenset[str] = frozenset()) -> None:
        """Hold all pages of a document, for others too where they are named."""
        ...

    def holders(self) -> Iterator[tuple[str, frozenset[str]]]:
        """Each document with the names of those who hold pages of it."""
        ...

    def unheld(self) -> frozenset[str]:
        """Documents of which this one does not hold all pages that are there."""
        ...
