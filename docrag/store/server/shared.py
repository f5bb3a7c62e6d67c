"""A collection that several machines fill: a page is removed once no machine holds it any more.

Each machine keeps its own manifest. Page ids follow from content, so two machines with the same file write
the same pages. Every page lists its holders: a machine that removes a page which others hold removes only its
own name. A claim is read and then written, so one of two claims on the same new page in the same moment may
be lost; that machine's next ingest renews it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from socket import gethostname
from typing import Self, TypeVar
from uuid import uuid4

from qdrant_client import models

from docrag.errors import IndexNotFound, IndexReplaced, ServerRefused
from docrag.store.requests import FieldMatch, PayloadCondition, PayloadFilter
from docrag.store.server import alias
from docrag.store.server.failures import NOT_FOUND
from docrag.store.server.schema import HELD_BY
from docrag.store.server.store import ServerStore
from docrag.store.server.translate import to_filter
from docrag.types import PageRecord

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_DOCUMENT_ID = "metadata.document_id"


def load_holder_name(folder: Path) -> str:
    """Return the name under which the manifest in a folder holds pages; it is created on first use.

    The name is random, because two containers may have the same host name and paths and must not be taken for
    one.

    Args:
        folder: The folder of the index's files; it must exist.
    """
    file = folder / "holder"
    with suppress(FileExistsError), file.open("x") as new_file:
        new_file.write(f"{gethostname()}-{uuid4().hex[:8]}")
    return file.read_text()


class SharedStore(ServerStore):
    """A `ServerStore` that holds pages under a name, and removes only pages that no other machine holds.

    Create it with `of`. It keeps using the collection that the alias pointed to at that time: after a
    migration an open process would otherwise query the new vectors with the old encoders. Once the alias
    points elsewhere, `flush` raises IndexReplaced, and so does every call if the collection is gone.
    """

    holder: str
    name: str
    """The alias or collection by which the index is known; others find pages only under this name."""

    @classmethod
    def of(cls, store: ServerStore, holder: str) -> Self:
        """Return a store of the same collection that holds pages as `holder`."""
        collection = alias.collection_behind(store.connection, store.collection) or store.collection
        shared = cls(store.connection, collection, store.layout)
        shared.holder = holder
        shared.name = store.collection
        return shared

    def flush(self) -> None:
        """Return once everything written would survive a power cut, and is what the index's name shows.

        Raises:
            IndexReplaced: A migration has replaced the collection: what was written to it cannot be found.
            IndexNotFound: The alias is gone.
        """
        super().flush()
        self._require_named()

    def upsert(self, records: Sequence[PageRecord]) -> None:
        """Write records, adding this holder to those that they have; see `ServerStore.upsert`."""
        ids = [record.id for record in records]
        stored = {record.id: _holders(record) for record in self.retrieve(ids, payload=[HELD_BY])}
        super().upsert([self._held(record, stored.get(record.id, frozenset())) for record in records])

    def delete(self, filter: PayloadFilter) -> None:
        """Remove the records that match and that no one else holds; give up the claim on the others."""
        held_by_others = models.FieldCondition(
            key=HELD_BY, match=models.MatchExcept(**{"except": [self.holder]})
        )
        self._delete(models.Filter(must=[to_filter(filter)], must_not=[held_by_others]))
        for document_id, holders in self._claims(PayloadFilter(must=(filter, self._held_by_this()))):
            logger.info("document %s stays in %s: other machines hold it", document_id, self.collection)
            self._set_holders(holders - {self.holder}, filter, _is_document(document_id))

    def unheld(self) -> frozenset[str]:
        """Return the ids of documents of which this machine does not hold every stored page."""
        not_held = PayloadFilter(must_not=(self._held_by_this(),))
        return frozenset(self._facet(_DOCUMENT_ID, not_held))

    def hold(self, document_id: str, holders: frozenset[str] = frozenset()) -> None:
        """Hold all pages of a document, also on behalf of other machines if they are named."""
        # Pages that this machine holds already need no change, unless other holders are added.
        already_held = () if holders else (self._held_by_this(),)
        pages = PayloadFilter(must=(_is_document(document_id),), must_not=already_held)
        for claimed_id, current in self._claims(pages):
            self._set_holders(current | holders | {self.holder}, _is_document(claimed_id))

    def holders(self) -> Iterator[tuple[str, frozenset[str]]]:
        """Yield each document with the names of the machines that hold pages of it."""
        return self._claims(PayloadFilter())

    def _require_named(self) -> None:
        """Check that the index's name still shows this collection.

        Raises:
            IndexReplaced: It shows another one.
            IndexNotFound: It shows none.
        """
        if self.name == self.collection:  # a staging collection, or one that is used under its own name
            return
        current = alias.alias_target(self.connection, self.name)
        uri = f"{self.connection.address.url}/{self.name}"
        if current is None:
            raise IndexNotFound(
                f"the alias {uri} is gone, and nobody finds what is written to {self.collection}",
                "run the same again, which sets the alias again if the collection is still there",
            )
        if current != self.collection:
            raise IndexReplaced(
                f"{uri} was migrated after it was opened: it is {current} now, and was {self.collection}",
                "run the same again, or open the index again",
            )

    def _call(self, do: Callable[[], Result]) -> Result:
        """Make a request; one about a collection that is gone ends with the reason.

        Raises:
            IndexReplaced: A migration has replaced and dropped the collection.
            IndexNotFound: The collection, or its alias, was dropped.
        """
        try:
            return super()._call(do)
        except ServerRefused as refused:
            if refused.status != NOT_FOUND or self.connection.info(self.collection):
                raise
            self._require_named()
            raise IndexNotFound(
                f"the collection {self.connection.address.url}/{self.collection} is gone",
                "ingest the documents again to make it anew",
            ) from refused

    def _held_by_this(self) -> FieldMatch:
        return FieldMatch(HELD_BY, (self.holder,))

    def _held(self, record: PageRecord, others: frozenset[str]) -> PageRecord:
        return replace(record, payload={**record.payload, HELD_BY: sorted({self.holder, *others})})

    def _claims(self, filter: PayloadFilter) -> Iterator[tuple[str, frozenset[str]]]:
        """Yield the documents with matching records, and the holders of any of these records."""
        claims: dict[str, frozenset[str]] = {}
        for record in self.scroll(filter, payload=[_DOCUMENT_ID, HELD_BY]):
            document_id = record.payload["metadata"]["document_id"]
            claims[document_id] = claims.get(document_id, frozenset()) | _holders(record)
        yield from claims.items()

    def _set_holders(self, holders: frozenset[str], *conditions: PayloadCondition) -> None:
        self.set_payload({HELD_BY: sorted(holders)}, PayloadFilter(must=conditions))


def _is_document(document_id: str) -> FieldMatch:
    return FieldMatch(_DOCUMENT_ID, (document_id,))


def _holders(record: PageRecord) -> frozenset[str]:
    return frozenset(record.payload.get(HELD_BY, ()))
