"""What a sync has to do: which files are new, changed, moved, unchanged or gone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from docrag.errors import DocumentError, UnreadableDocument
from docrag.ingest.manifest import FileRow, Manifest


@dataclass(slots=True)
class IngestPlan:
    """The files of a sync, each in one list."""

    contents: dict[str, list[FileRow]] = field(default_factory=dict)
    """Contents to be read, by document id, with the files that hold them."""
    known: list[FileRow] = field(default_factory=list)
    """Files whose content is indexed already, from another path."""
    touched: list[FileRow] = field(default_factory=list)
    """Files with a new time or size and the content they had."""
    unchanged: list[FileRow] = field(default_factory=list)
    gone: list[FileRow] = field(default_factory=list)
    """Ingested once from the folders of this sync, and no longer there."""
    failed: list[tuple[str, DocumentError]] = field(default_factory=list)


def make_plan(
    paths: Sequence[Path],
    files: Sequence[Path],
    manifest: Manifest,
    digest: Callable[[Path], str],
    *,
    again: bool = False,
    unreadable: Mapping[Path, DocumentError] | None = None,
) -> IngestPlan:
    """Compare files with the manifest; only those whose size or time differs are read and hashed.

    Args:
        paths: What the user named: folders are looked through for files that are gone.
        files: The files found there.
        manifest: What was ingested before.
        digest: sha256 of a file, hexadecimal.
        again: Whether to read what did not change, too.
        unreadable: Folders that could not be looked into; what was ingested from them is not taken for gone.
    """
    lost = dict(unreadable or {})
    plan = IngestPlan(failed=[(_printable(path), error) for path, error in lost.items()])
    found: set[str] = set()
    for path in files:
        absolute = os.path.abspath(path)  # noqa: PTH100 (Path.resolve follows links, which are sources of their own)
        if absolute not in found:
            found.add(absolute)
            _place(path, absolute, manifest, digest, plan, again)
    for rows in plan.contents.values():
        rows.sort(
            key=lambda row: row.path
        )  # the first one names the document, whatever the order of arguments
    folders, hidden = _inside(p for p in paths if p not in lost and p.is_dir()), _inside(lost)
    plan.gone = [
        row
        for row in manifest.files()
        if row.path.startswith(folders) and row.path not in found and not f"{row.path}/".startswith(hidden)
    ]
    return plan


def _inside(folders: Iterable[Path]) -> tuple[str, ...]:
    """What the absolute paths of files below some folders begin with."""
    return tuple(os.path.join(os.path.abspath(folder), "") for folder in folders)  # noqa: PTH100, PTH118


def _printable(path: Path) -> str:
    return os.fsencode(path).decode(errors="replace")


def _place(
    path: Path,
    absolute: str,
    manifest: Manifest,
    digest: Callable[[Path], str],
    plan: IngestPlan,
    again: bool,
) -> None:
    if _printable(path) != str(path):  # bytes that are no UTF-8, which neither SQLite nor Qdrant can keep
        error = UnreadableDocument(
            f"{_printable(path)}: the name is not UTF-8", "rename the file or its folder"
        )
        plan.failed.append((_printable(path), error))
        return
    before = manifest.file(absolute)
    try:
        stat = path.stat()
        same = before is not None and (before.size, before.mtime_ns) == (stat.st_size, stat.st_mtime_ns)
        if before is not None and same and not again and _settled(manifest, before.document_id):
            plan.unchanged.append(before)
            return
        document_id = digest(path)
    except OSError as error:
        plan.failed.append(
            (str(path), UnreadableDocument(f"{path}: {error.strerror}", "check the file's permissions"))
        )
        return
    now = FileRow(absolute, str(path), stat.st_size, stat.st_mtime_ns, document_id)
    if again or not _settled(manifest, document_id):
        plan.contents.setdefault(document_id, []).append(now)
    elif before is not None and before.document_id == document_id:
        plan.touched.append(now)
    else:
        plan.known.append(now)


def _settled(manifest: Manifest, document_id: str) -> bool:
    """Whether every page of a document that could be read is in the store."""
    document = manifest.document(document_id)
    return document is not None and document.state in ("done", "relabel")
