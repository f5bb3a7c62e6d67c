"""What an index holds, in figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docrag.ingest.staging import Staging
from docrag.ingest.storage import DOCUMENT_ID
from docrag.search.stages import load_plan
from docrag.store.base import CollectionHealth, Monitored, Shared
from docrag.store.local.process import EngineStatus
from docrag.store.local.remote import RemoteStore

if TYPE_CHECKING:
    from docrag.encode.encoders import Encoders
    from docrag.ingest.storage import Storage
    from docrag.location.base import IndexLocation
    from docrag.store.base import Store

UNFINISHED_MIGRATION = (
    "started and not finished: run the same docrag migrate again to continue it, "
    "or docrag migrate --abandon to drop it"
)


@dataclass(frozen=True, slots=True)
class Status:
    """What an index holds."""

    uri: str
    documents: int
    files: int
    pages: int
    disk_bytes: int
    fingerprint: Mapping[str, Any]
    incomplete: tuple[str, ...]
    """Files of which some pages could not be read, each with the reason."""
    tuning: str = ""
    """What `docrag tune` chose and whether it still fits. Empty if the index was not tuned."""
    migration: str = ""
    """What to do about a migration that was started and not finished. Empty if there is none."""
    takes: tuple[str, ...] = ("words",)
    """What a query may consist of: words, images, recordings."""
    engine: EngineStatus | None = None
    """The process that holds the directory, and who uses it; None on a server, and with in_process."""
    writer: str = ""
    """Who is changing the index, such as "process 1234 (docrag ingest)". Empty if nobody is."""
    dashboard: str = ""
    """The address of the collection in Qdrant's dashboard. Empty for a directory."""
    collection: str = ""
    """The collection's own name, where `uri` names an alias of it. Empty for a directory."""
    image_base_url: str = ""
    """The base URL under which the pages name their images. Empty if there are no pages."""
    stored_documents: int = 0
    """Documents of which pages are stored. In a collection on a server, other machines may have ingested more
    of them than `documents`, which are those of this machine."""
    holder: str = ""
    """The name under which this machine holds pages in a collection on a server; empty for a directory."""
    held_by: Mapping[str, int] = field(default_factory=dict)
    """How many pages each machine holds in a collection on a server, by its name."""
    health: CollectionHealth | None = None
    """How the collection is on its Qdrant server; None for a directory."""


def status_of(location: IndexLocation, storage: Storage, encoders: Encoders) -> Status:
    """What an index holds, and what it was built with."""
    stored = location.fingerprint()
    documents = storage.manifest.documents()
    pages = storage.store.count()
    plan = load_plan(location.folder)
    return Status(
        uri=location.uri,
        documents=sum(document.state != "writing" for document in documents),
        files=len(storage.manifest.files()),
        pages=pages,
        disk_bytes=_disk_bytes(location.folder),
        fingerprint={**(stored.values if stored else {}), **encoders.fingerprint()},
        incomplete=tuple(f"{document.source}: {document.lost}" for document in documents if document.lost),
        tuning=plan.describe(pages) if plan else "",
        migration=UNFINISHED_MIGRATION if Staging(location.folder).folder.exists() else "",
        takes=_query_kinds(encoders),
        engine=_engine_status(storage.store),
        writer=str(storage.manifest.writer() or ""),
        dashboard=location.dashboard,
        collection=storage.store.collection if isinstance(storage.store, Shared) else "",
        image_base_url=storage.image_base_url() or "",
        stored_documents=len(storage.store.facet(DOCUMENT_ID)),
        holder=storage.store.holder if isinstance(storage.store, Shared) else "",
        held_by=storage.store.pages_by_holder() if isinstance(storage.store, Shared) else {},
        health=storage.store.health() if isinstance(storage.store, Monitored) else None,
    )


def _engine_status(store: Store) -> EngineStatus | None:
    return store.process.status() if isinstance(store, RemoteStore) else None


def _query_kinds(encoders: Encoders) -> tuple[str, ...]:
    kinds = ["words"]
    if encoders.takes_images:
        kinds.append("images")
    if encoders.takes_recordings:
        kinds.append("recordings")
    return tuple(kinds)


def _disk_bytes(folder: Path) -> int:
    """Bytes that the files of a directory occupy on the disk of this machine."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())
