"""Take files out of an index, and the claims of machines that no longer exist."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from docrag.errors import IndexInUse, NotFound, SettingsError
from docrag.ingest.manifest import FileRow, Manifest
from docrag.ingest.storage import DOCUMENT_ID, Storage, document_filter
from docrag.store.base import Shared
from docrag.store.requests import FieldMatch, PayloadFilter

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Removal:
    """What the removal of a file did."""

    file: str
    """The path or document id that was given."""
    pages: int
    """Pages that were removed from the index."""
    held_by: tuple[str, ...] = ()
    """Other machines that hold pages of the document in the same collection, so that these stay."""

    @property
    def reason(self) -> str:
        """Why pages of the document stay, in one line; empty if no other machine holds any."""
        return f"other machines hold its pages: {', '.join(self.held_by)}" if self.held_by else ""

    @property
    def hint(self) -> str:
        """What to do about pages that stay; empty if none do because of another machine."""
        if not self.held_by:
            return ""
        return "remove it there too; for a machine that no longer exists, add --release and its name"

    def as_json(self) -> dict[str, Any]:
        """The line that `docrag remove --json` prints."""
        line: dict[str, Any] = {"file": self.file, "status": "removed", "pages": self.pages, "error": None}
        if self.held_by:
            line |= {"status": "held", "error": self.reason, "hint": self.hint, "held_by": [*self.held_by]}
        return line


def remove_file(
    storage: Storage,
    path: str | os.PathLike[str],
    *,
    release: Collection[str] = (),
    should_stop: Callable[[], bool] | None = None,
) -> Removal:
    """Forget a file. Its pages stay if the same content was ingested from another path or machine.

    A document that the manifest does not know and the store names by this path is removed as well: an older
    snapshot of the collection may have brought it back.

    Args:
        storage: The index.
        path: The path as ingested, the path relative to the working directory, or the id of a document, which
            means all of its files.
        release: Other machines, whose claims on the document are given up as well.
        should_stop: Asked while somebody else is changing the index; once it returns true, waiting ends.

    Raises:
        NotFound: No such file was ingested.
        IndexInUse: Waiting was ended by `should_stop`.
        SettingsError: `release` names a machine that holds nothing, or the index is no collection.
        StoreError: The pages cannot be removed; the file is still in the index.
    """
    with storage.exclusive(should_stop) as acquired:
        if not acquired:
            raise IndexInUse(f"{path} is not removed: another writer is changing the index", "try again")
        _require_holders(storage, release)
        files = _files_named(storage.manifest, path)
        documents = {file.document_id for file in files} or _documents_named(storage, path)
        if not documents:
            raise NotFound(f"{path} is not in the index", "give the path as it was ingested")
        pages = PayloadFilter(must=(FieldMatch(DOCUMENT_ID, tuple(sorted(documents))),))
        before = storage.store.count(pages)
        storage.forget(files)
        for document_id in documents:
            if storage.manifest.files(document_id):
                _release_others(storage, document_id, release)
                storage.name_sources(document_id)  # it may name a path that the manifest does not know
            else:
                _remove_document(storage, document_id, release)
        removed = before - storage.store.count(pages)
        return Removal(str(path), removed, _other_holders(storage, pages))


def release_holder(storage: Storage, name: str, *, should_stop: Callable[[], bool] | None = None) -> int:
    """Give up all claims of another machine, such as one that no longer exists.

    Args:
        storage: The index.
        name: The machine, as `Shared.pages_by_holder` names it.
        should_stop: Asked while somebody else is changing the index; once it returns true, waiting ends.

    Returns:
        The number of pages that were removed, because no other machine held them.

    Raises:
        SettingsError: No other machine of that name holds a page, or the index is no collection.
        IndexInUse: Waiting was ended by `should_stop`.
    """
    with storage.exclusive(should_stop) as acquired:
        if not acquired:
            raise IndexInUse(f"{name} is not released: another writer is changing the index", "try again")
        _require_holders(storage, [name])
        assert isinstance(storage.store, Shared)
        before = storage.store.count()
        storage.store.release(frozenset({name}), PayloadFilter())
        removed = before - storage.store.count()
        logger.info("released the claims of %s, and %d pages were removed", name, removed)
        return removed


def _files_named(manifest: Manifest, path: str | os.PathLike[str]) -> list[FileRow]:
    """The files that a user means: by absolute path, else by path as ingested, else by document id."""
    absolute = os.path.abspath(path)  # noqa: PTH100 (a link counts as a file of its own)
    files = manifest.files()
    return (
        [file for file in files if file.path == absolute]
        or [file for file in files if file.source == str(path)]
        or [file for file in files if file.document_id == str(path)]
    )


def _documents_named(storage: Storage, path: str | os.PathLike[str]) -> set[str]:
    """The stored documents that name a path which the manifest does not know, or that have this id."""
    absolute = os.path.abspath(path)  # noqa: PTH100 (as above)
    sources = FieldMatch("metadata.sources", tuple(dict.fromkeys((str(path), absolute))))
    named = PayloadFilter(should=(sources, FieldMatch(DOCUMENT_ID, (str(path),))))
    records = storage.store.scroll(named, payload=[DOCUMENT_ID])
    return {record.payload["metadata"]["document_id"] for record in records}


def _remove_document(storage: Storage, document_id: str, release: Collection[str]) -> None:
    """Remove a document that has no file here any more, as far as no other machine holds it."""
    if release and isinstance(storage.store, Shared):
        names = frozenset({storage.store.holder, *release})
        storage.store.release(names, document_filter(document_id))
    storage.drop(document_id)


def _release_others(storage: Storage, document_id: str, release: Collection[str]) -> None:
    """Give up claims of other machines on a document that another file here has as well, so that it stays."""
    if release and isinstance(storage.store, Shared):
        # Another machine may have released the claim of this one meanwhile.
        storage.store.hold({document_id})
        storage.store.release(frozenset(release), document_filter(document_id))


def _other_holders(storage: Storage, pages: PayloadFilter) -> tuple[str, ...]:
    """The other machines that hold some of the pages; none if a file here belongs to these as well."""
    if not isinstance(storage.store, Shared):
        return ()
    holders = storage.store.holders_of(pages)
    return () if storage.store.holder in holders else tuple(sorted(holders))


def _require_holders(storage: Storage, names: Collection[str]) -> None:
    """Refuse names that no other machine has.

    Raises:
        SettingsError: One holds no page, or is this machine; or no other machine can hold pages.
    """
    if not names:
        return
    if not isinstance(storage.store, Shared):
        raise SettingsError(
            "other machines hold pages in a collection on a server only", "leave --release out"
        )
    others = storage.store.pages_by_holder().keys() - {storage.store.holder}
    for name in names:
        if name not in others:
            listed = ", ".join(sorted(others)) or "none"
            raise SettingsError(
                f"no other machine named {name} holds pages of this index", f"those that do: {listed}"
            )
