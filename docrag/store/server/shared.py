"""A collection on a server that several machines fill: a page goes when none of them holds it any more.

Each machine keeps a manifest of its own, and ids follow from content, so that two machines with the same
file write the same pages. A page names its holders; who lets go of it removes only its own name where there
are others. A claim is read and then written: where two machines store the same new page in the same moment,
one claim may be lost, until that machine's next ingest renews it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from socket import gethostname
from typing import Self
from uuid import uuid4

from qdrant_client import models

from docrag.store.server import alias
from docrag.store.server.schema import HELD_BY
from docrag.store.server.store import ServerStore
from docrag.types import PageRecord

_DOCUMENT = "metadata.document_id"
_FACETS = 1_000_000


def find_holder(folder: Path) -> str:
    """The name under which the manifest in a folder holds pages, made when it is asked for first.

    By chance and not by machine: two containers may have the same name and paths, and must not pass for one.

    Args:
        folder: It exists.
    """
    file = folder / "holder"
    with suppress(FileExistsError), file.open("x") as new:
        new.write(f"{gethostname()}-{uuid4().hex[:8]}")
    return file.read_text()


class SharedStore(ServerStore):
    """A `ServerStore` that holds pages by a name, and removes only what nobody else holds.

    Make it with `of`. It stays with the collection that its address pointed to: after a migration a process
    that was open would otherwise ask the new vectors with the old encoders.
    """

    holder: str

    @classmethod
    def of(cls, store: ServerStore, holder: str) -> Self:
        """The store at the same place, for one holder."""
        name = alias.collection_behind(store.connection, store.collection) or store.collection
        shared = cls(store.connection, name, store.layout)
        shared.holder = holder
        return shared

    def upsert(self, records: Sequence[PageRecord]) -> None:
        """Write records as held by this one too."""
        ids = [record.id for record in records]
        there = {record.id: _holders(record) for record in self.retrieve(ids, payload=[HELD_BY])}
        super().upsert([self._held(record, there.get(record.id, frozenset())) for record in records])

    def delete(self, filter: models.Filter) -> None:
        """Let go of the records that match, and remove those that nobody else holds."""
        others = models.FieldCondition(key=HELD_BY, match=models.MatchExcept(**{"except": [self.holder]}))
        super().delete(models.Filter(must=[filter], must_not=[others]))
        mine = models.FieldCondition(key=HELD_BY, match=models.MatchValue(value=self.holder))
        for document_id, holders in self._claims(models.Filter(must=[filter, mine])):
            self._claim(holders - {self.holder}, filter, _is(document_id))

    def unheld(self) -> frozenset[str]:
        """Documents of which this one does not hold all pages that are there."""
        mine = models.FieldCondition(key=HELD_BY, match=models.MatchValue(value=self.holder))
        client, others = self.connection.client, models.Filter(must_not=[mine])
        found = self._call(
            lambda: client.facet(self.collection, _DOCUMENT, facet_filter=others, limit=_FACETS, exact=True)
        )
        return frozenset(str(hit.value) for hit in found.hits if hit.count)

    def hold(self, document_id: str, holders: frozenset[str] = frozenset()) -> None:
        """Hold all pages of a document, for others too where they are named."""
        free = models.FieldCondition(key=HELD_BY, match=models.MatchValue(value=self.holder))
        where = models.Filter(must=[_is(document_id)], must_not=[] if holders else [free])
        for found, named in self._claims(where):
            self._claim(named | holders | {self.holder}, _is(found))

    def holders(self) -> Iterator[tuple[str, frozenset[str]]]:
        """Each document with the names of those who hold pages of it."""
        return self._claims(models.Filter())

    def _held(self, record: PageRecord, others: frozenset[str]) -> PageRecord:
        return replace(record, payload={**record.payload, HELD_BY: sorted({self.holder, *others})})

    def _claims(self, filter: models.Filter) -> Iterator[tuple[str, frozenset[str]]]:
        """Documents with records that match, and who holds one of their pages."""
        found: dict[str, frozenset[str]] = {}
        for record in self.scroll(filter, payload=[_DOCUMENT, HELD_BY]):
            document_id = record.payload["metadata"]["document_id"]
            found[document_id] = found.get(document_id, frozenset()) | _holders(record)
        yield from found.items()

    def _claim(self, holders: frozenset[str], *where: models.Condition) -> None:
        self.set_payload({HELD_BY: sorted(holders)}, models.Filter(must=list(where)))


def _is(document_id: str) -> models.FieldCondition:
    return models.FieldCondition(key=_DOCUMENT, match=models.MatchValue(value=document_id))


def _holders(record: PageRecord) -> frozenset[str]:
    return frozenset(record.payload.get(HELD_BY, ()))
