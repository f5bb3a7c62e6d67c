"""What an index holds, in figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docrag.encode.encoders import Encoders
    from docrag.ingest.storage import Storage
    from docrag.location.base import IndexLocation


BEGUN = "begun and not finished: the same docrag migrate goes on, docrag migrate --abandon ends it"


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
    """Files of which some pages could not be read, with the reason."""
    tuning: str = ""
    """What `docrag tune` chose and whether it still fits; empty where the index was not tuned."""
    migration: str = ""
    """What to do of a migration that was begun and not finished; empty where there is none."""
    takes: tuple[str, ...] = ("words",)
    """What a query may be made of: words, images, recordings."""


def status_of(location: IndexLocation, storage: Storage, encoders: Encoders) -> Status:
    """What an index holds, with what it was built."""
    from docrag.ingest.staging import Staging
    from docrag.tuning.plan import load_plan

    built = location.fingerprint()
    rows, pages, plan = storage.manifest.documents(), storage.store.count(), load_plan(location.folder)
    return Status(
        uri=location.uri,
        documents=len([row for row in rows if row.state != "writing"]),
        files=len(storage.manifest.files()),
        pages=pages,
        disk_bytes=_size_of(location.folder),
        fingerprint={**(built.values if built else {}), **encoders.fingerprint()},
        incomplete=tuple(f"{row.source}: {row.lost}" for row in rows if row.lost),
        tuning=plan.describe(pages) if plan else "",
        migration=BEGUN if Staging(location.folder).folder.exists() else "",
        takes=_takes(encoders),
    )


def _takes(encoders: Encoders) -> tuple[str, ...]:
    kinds = {"words": True, "images": encoders.takes_images, "recordings": encoders.takes_recordings}
    return tuple(kind for kind, taken in kinds.items() if taken)


def _size_of(folder: Path) -> int:
    """Bytes on this machine's disk."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())
