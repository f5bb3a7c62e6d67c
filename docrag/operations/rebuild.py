"""Read again what an index was made of, into a draft beside it, and compare the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from docrag.ingest.manifest import FileRow, Manifest
from docrag.ingest.plan import IngestPlan, make_plan
from docrag.ingest.report import FileReport
from docrag.ingest.storage import Storage
from docrag.read.files import sha256
from docrag.store.base import Shared, Store


@dataclass(frozen=True, slots=True)
class Lost:
    """A document of an index that its draft lacks, or has fewer pages of."""

    source: str
    pages: int
    """How many are missing."""
    reason: str

    def __str__(self) -> str:
        return f"{self.source} ({self.pages} page{'s' if self.pages > 1 else ''}): {self.reason}"


def plan_again(old: Manifest, draft: Manifest) -> IngestPlan:
    """What is left to read of the files of an index, each by the path at which it was ingested.

    Args:
        old: Of the index.
        draft: What was read again already.
    """
    sources = {row.path: row.source for row in old.files()}
    plan = make_plan((), [Path(path) for path in sources], draft, sha256)
    plan.contents = {name: _named(rows, sources) for name, rows in plan.contents.items()}
    plan.known, plan.touched = _named(plan.known, sources), _named(plan.touched, sources)
    # A file that is gone since it was read again is one that is gone since it was ingested: no page is lost.
    plan.failed = [(sources[path], error) for path, error in plan.failed if draft.file(path) is None]
    plan.gone = [row for row in draft.files() if row.path not in sources]
    return plan


def lost_pages(old: Storage, draft: Storage, reports: Sequence[FileReport]) -> list[Lost]:
    """The documents of which a switch to the draft would lose pages.

    A file whose content changed is not lost: its new pages take the place of the old ones, as in any ingest.

    Args:
        old: The index.
        draft: Built from the index's files.
        reports: Of reading them; they say why something is missing.
    """
    before, now = _pages(old.store), _pages(draft.store)
    found = []
    for document_id, (pages, source) in before.items():
        missing = pages - now.get(document_id, (0, ""))[0]
        rows = old.manifest.files(document_id)
        if (
            missing > 0
            and not _is_left_over(old.manifest, document_id, rows)
            and not _is_changed(rows, draft)
        ):
            found.append(Lost(source, missing, _reason(document_id, rows, draft.manifest, reports)))
    return sorted(found, key=lambda lost: lost.source)


def carry_claims(old: Store, draft: Store) -> None:
    """Let who holds pages of a collection hold them in the draft, too."""
    if isinstance(old, Shared) and isinstance(draft, Shared):
        for document_id, holders in old.holders():
            if holders - {draft.holder}:
                draft.hold(document_id, holders)


def _named(rows: Sequence[FileRow], sources: Mapping[str, str]) -> list[FileRow]:
    return [replace(row, source=sources[row.path]) for row in rows]


def _reason(document_id: str, rows: Sequence[FileRow], draft: Manifest, reports: Sequence[FileReport]) -> str:
    if not rows:
        return "it was not ingested from here"
    sources = {row.source for row in rows}
    told = [report.error for report in reports if report.file in sources and report.error]
    document = draft.document(document_id)
    return (told or [document.lost if document else ""])[0] or "its pages could not be read again"


def _pages(store: Store) -> dict[str, tuple[int, str]]:
    """How many pages a store has of each document, and one of its paths."""
    found: dict[str, tuple[int, str]] = {}
    for record in store.scroll(payload=["metadata.document_id", "metadata.source"]):
        metadata = record.payload["metadata"]
        pages, _ = found.get(metadata["document_id"], (0, ""))
        found[metadata["document_id"]] = (pages + 1, metadata["source"])
    return found


def _is_left_over(manifest: Manifest, document_id: str, rows: Sequence[FileRow]) -> bool:
    """Whether an ingest that was killed left the document half written, or half removed."""
    document = manifest.document(document_id)
    return document is not None and not rows


def _is_changed(rows: Sequence[FileRow], draft: Storage) -> bool:
    """Whether all the files of a document have another content by now, which the draft has."""
    now = [draft.manifest.file(row.path) for row in rows]
    return bool(now) and all(
        new is not None and new.document_id != row.document_id for new, row in zip(now, rows, strict=True)
    )
