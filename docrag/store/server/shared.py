"""A collection that several machines fill: a page is removed once no machine holds it any more.

Each machine keeps its own manifest. Page ids follow from content, so two machines with the same file write
the same pages. Every page lists its holders: a machine that removes a page which others hold removes only its
own name.

Machines do not wait for each other. A list of holders is read, and the new one is written on the condition,
which the server checks, that it is still the one that was read; otherwise it is read again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from socket import gethostname
from typing import Any, NamedTuple, Self, TypeVar
from uuid import uuid4

from qdrant_client import models

from docrag.common.files import write_atomically
from docrag.errors import IndexNotFound, IndexReplaced, ServerRefused, ServerUnreachable
from docrag.store.payload import page_of, source_metadata
from docrag.store.requests import FieldMatch, PayloadFilter
from docrag.store.server import alias
from docrag.store.server.failures import NOT_FOUND
from docrag.store.server.limits import CollectionLimits
from docrag.store.server.schema import HELD_BY, has
from docrag.store.server.store import ServerStore
from docrag.store.server.translate import to_filter
from docrag.store.server.wire import Condition
from docrag.types import PageRecord

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_DOCUMENT_ID = "metadata.document_id"
_SOURCES = "metadata.sources"
_NAME_POLLS = 100
_NAME_POLL_SECONDS = 0.01
_ATTEMPTS = 20
"""How often a list is read and written again because another machine changed it in between."""
_ORDERING = models.WriteOrdering.MEDIUM
"""Every replica of a shard decides about competing writes in the same order."""
_MOST_DOCUMENTS = 256
"""Documents that one filter names."""


class _Claim(NamedTuple):
    """What a stored page says about the machines that ingested it."""

    holders: frozenset[str]
    sources: tuple[str, ...]
    """Paths of the document, as ingested; the first one names it."""


_NO_CLAIM = _Claim(frozenset(), ())


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
    for _ in range(_NAME_POLLS):
        if name := file.read_text():
            return name
        time.sleep(_NAME_POLL_SECONDS)  # another process has created the file and not written it yet
    write_atomically(file, f"{gethostname()}-{uuid4().hex[:8]}")  # that process was killed
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
        self.require_current()

    def upsert(self, records: Sequence[PageRecord]) -> None:
        """Write records, adding this holder to those that they have; see `ServerStore.upsert`.

        Raises:
            ServerUnreachable: Other machines kept changing the holders of some of the pages.
        """
        self._validate(records)
        waiting = {record.id: record for record in records}
        stored = self._read_claims(list(waiting))
        for _ in range(_ATTEMPTS):
            for holders, ids in _by_holders(waiting, stored).items():
                claimed = [self._claimed(waiting[id], stored.get(id, _NO_CLAIM)) for id in ids]
                self._write_records(claimed, self._unless_changed(holders))
            found = self._read_claims(list(waiting))
            waiting = {
                id: record
                for id, record in waiting.items()
                if not self._was_written(stored.get(id, _NO_CLAIM), found.get(id, _NO_CLAIM))
            }
            if not waiting:
                return
            logger.info("%d pages were claimed by other machines meanwhile: writing again", len(waiting))
            stored = found
        raise self._too_busy(len(waiting))

    def delete(self, filter: PayloadFilter) -> None:
        """Remove the records that match and that no one else holds; give up the claim on the others."""
        self._give_up(frozenset({self.holder}), filter)

    def release(self, names: frozenset[str], filter: PayloadFilter) -> None:
        """Give up the claims of some holders on the records that match; those without another are removed."""
        self._give_up(names, PayloadFilter(must=(filter, FieldMatch(HELD_BY, tuple(sorted(names))))))

    def held(self) -> dict[str, int]:
        """Return how many pages of each document this machine holds."""
        return self._facet(_DOCUMENT_ID, PayloadFilter(must=(self._held_by_this(),)))

    def unheld(self) -> frozenset[str]:
        """Return the ids of documents of which this machine does not hold every stored page."""
        not_held = PayloadFilter(must_not=(self._held_by_this(),))
        return frozenset(self._facet(_DOCUMENT_ID, not_held))

    def hold(self, document_ids: Collection[str], holders: frozenset[str] = frozenset()) -> None:
        """Hold all pages of some documents, also on behalf of other machines if they are named."""
        wanted = holders | {self.holder}
        ids = sorted(document_ids)
        for start in range(0, len(ids), _MOST_DOCUMENTS):
            self._hold(tuple(ids[start : start + _MOST_DOCUMENTS]), wanted)

    def holders(self) -> Iterator[tuple[str, frozenset[str]]]:
        """Yield each document with the names of the machines that hold pages of it."""
        yield from self._claims(PayloadFilter()).items()

    def holders_of(self, filter: PayloadFilter) -> frozenset[str]:
        """Return the names of the machines that hold any of the records that match."""
        return frozenset().union(*self._claims(filter).values())

    def pages_by_holder(self) -> dict[str, int]:
        """Return how many pages each machine holds."""
        return self._facet(HELD_BY)

    def name_sources(self, document_id: str, sources: Sequence[str]) -> None:
        """Let the pages of a document name its files on this machine.

        As long as other machines hold a page, the paths that it names already stay: they may be theirs.
        Nothing is written where nothing changes.

        Args:
            document_id: The document.
            sources: The paths as ingested, one or more.
        """
        pages = PayloadFilter(must=(_is_document(document_id),))
        for _ in range(_ATTEMPTS):
            claims = {_claim(record) for record in self.scroll(pages, payload=[_SOURCES, HELD_BY])}
            named = {claim: self._merged_sources(claim.sources, sources, claim.holders) for claim in claims}
            outdated = {claim: names for claim, names in named.items() if names != claim.sources}
            if not outdated:
                return
            for claim, names in outdated.items():
                unchanged = (
                    _is_exactly(_SOURCES, frozenset(claim.sources)),
                    _is_exactly(HELD_BY, claim.holders),
                )
                self._set_if(source_metadata(names), pages, *unchanged, key="metadata")
        raise self._too_busy(self.count(pages))

    def _merged_sources(
        self, current: tuple[str, ...], own: Sequence[str], holders: frozenset[str]
    ) -> tuple[str, ...]:
        if not holders - {self.holder}:
            return tuple(own)
        return tuple(dict.fromkeys((*current, *own)))

    def _give_up(self, names: frozenset[str], pages: PayloadFilter) -> None:
        """Remove those of the pages that no one else holds, and some holders from the others."""
        held_by_others = models.FieldCondition(
            key=HELD_BY, match=models.MatchExcept(**{"except": sorted(names)})
        )
        claimed = PayloadFilter(must=(pages, FieldMatch(HELD_BY, tuple(sorted(names)))))
        for _ in range(_ATTEMPTS):
            self._delete(pages, held_by_others, ordering=_ORDERING)
            claims = {_holders(record) for record in self.scroll(claimed, payload=[HELD_BY])}
            if not claims:
                return
            for holders in claims:
                others = sorted(holders - names)
                if others:  # else they gave their claims up meanwhile, and the pages are removed next
                    logger.info("pages stay in %s, which are held by %s", self.collection, others)
                    self._set_if({HELD_BY: others}, claimed, _is_exactly(HELD_BY, holders))
        raise self._too_busy(self.count(claimed))

    def _hold(self, document_ids: tuple[str, ...], wanted: frozenset[str]) -> None:
        held_by_all = PayloadFilter(must=tuple(FieldMatch(HELD_BY, (name,)) for name in sorted(wanted)))
        pages = PayloadFilter(must=(FieldMatch(_DOCUMENT_ID, document_ids),), must_not=(held_by_all,))
        for _ in range(_ATTEMPTS):
            claims = {_holders(record) for record in self.scroll(pages, payload=[HELD_BY])}
            if not claims:
                return
            for holders in claims:
                self._set_if({HELD_BY: sorted(holders | wanted)}, pages, _is_exactly(HELD_BY, holders))
        raise self._too_busy(self.count(pages))

    def require_current(self) -> None:
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

    def _request(self, send: Callable[[Callable[[], Result]], Result], do: Callable[[], Result]) -> Result:
        """Make a request; one about a collection that is gone ends with the reason.

        Raises:
            IndexReplaced: A migration has replaced and dropped the collection.
            IndexNotFound: The collection, or its alias, was dropped.
        """
        try:
            return super()._request(send, do)
        except ServerRefused as refused:
            if refused.status != NOT_FOUND or self.connection.info(self.collection):
                raise
            self.require_current()
            raise IndexNotFound(
                f"the collection {self.connection.address.url}/{self.collection} is gone",
                "ingest the documents again to make it anew",
            ) from refused

    def _held_by_this(self) -> FieldMatch:
        return FieldMatch(HELD_BY, (self.holder,))

    def _read_claims(self, ids: Sequence[str]) -> dict[str, _Claim]:
        """Return who holds those of the pages that exist, and from which files."""
        fields = [HELD_BY, _SOURCES] if self.layout.has_pages else [HELD_BY]
        return {record.id: _claim(record) for record in self.retrieve(ids, payload=fields)}

    def _claimed(self, record: PageRecord, stored: _Claim) -> PageRecord:
        """Return a record that names this holder and its files beside those that are stored."""
        payload = {**record.payload, HELD_BY: sorted({self.holder, *stored.holders})}
        if self.layout.has_pages and stored.holders - {self.holder}:
            metadata = record.payload["metadata"]
            sources = self._merged_sources(stored.sources, metadata["sources"], stored.holders)
            metadata = {**metadata, **source_metadata(sources)}
            payload["metadata"] = metadata
            if "page_of" in payload:
                payload["page_of"] = page_of(
                    metadata["file_name"], metadata["page"] + 1, metadata["total_pages"]
                )
        return replace(record, payload=payload)

    def _unless_changed(self, holders: frozenset[str]) -> Condition:
        """Return the condition that the holders of a page are still those that were read.

        A page that had holders and was deleted meanwhile is not written either, since its new copy would name
        holders that gave it up. Servers before 1.17 cannot be told so, and write it.
        """
        update_only = bool(holders) and has(self.connection.version, "update_mode")
        return Condition(_is_exactly(HELD_BY, holders), update_only=update_only)

    def _was_written(self, before: _Claim, after: _Claim) -> bool:
        """Whether the holders of a page before and after a write show that it took place."""
        is_held = self.holder in after.holders
        return is_held and (self.holder not in before.holders or before.holders == after.holders)

    def _claims(self, filter: PayloadFilter) -> dict[str, frozenset[str]]:
        """Return the documents with matching records, and the holders of any of these records."""
        claims: dict[str, frozenset[str]] = {}
        for record in self.scroll(filter, payload=[_DOCUMENT_ID, HELD_BY]):
            document_id = record.payload["metadata"]["document_id"]
            claims[document_id] = claims.get(document_id, frozenset()) | _holders(record)
        return claims

    def _set_if(
        self,
        values: Mapping[str, Any],
        pages: PayloadFilter,
        *conditions: models.Filter,
        key: str | None = None,
    ) -> None:
        """Set payload values on the records that match a filter and some conditions."""
        client, payload = self.connection.client, dict(values)

        def set_within(limits: CollectionLimits) -> None:
            condition = models.Filter(must=[to_filter(limits.fit_filter(pages)), *conditions])
            self._write(
                lambda: client.set_payload(
                    self.collection, payload, condition, key, wait=True, ordering=_ORDERING
                )
            )

        self._limits.within(set_within)

    def _too_busy(self, pages: int) -> ServerUnreachable:
        return ServerUnreachable(
            f"{self.connection.address}: other machines keep changing who holds {pages} of the pages",
            "run the same again; what was stored is not written twice",
        )


def _is_document(document_id: str) -> FieldMatch:
    return FieldMatch(_DOCUMENT_ID, (document_id,))


def _is_exactly(key: str, values: frozenset[str]) -> models.Filter:
    """Return the condition that a list of texts in the payload has these items and no others."""
    if not values:
        return models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key=key))])
    ordered = sorted(values)
    others = models.FieldCondition(key=key, match=models.MatchExcept(**{"except": ordered}))
    return models.Filter(
        must=[models.FieldCondition(key=key, match=models.MatchValue(value=value)) for value in ordered],
        must_not=[others],
    )


def _by_holders(ids: Iterable[str], stored: Mapping[str, _Claim]) -> dict[frozenset[str], list[str]]:
    """Return page ids by who holds the page."""
    groups: dict[frozenset[str], list[str]] = {}
    for id in ids:
        groups.setdefault(stored.get(id, _NO_CLAIM).holders, []).append(id)
    return groups


def _claim(record: PageRecord) -> _Claim:
    metadata = record.payload.get("metadata", {})
    return _Claim(_holders(record), tuple(metadata.get("sources", ())))


def _holders(record: PageRecord) -> frozenset[str]:
    return frozenset(record.payload.get(HELD_BY, ()))
