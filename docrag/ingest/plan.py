"""What an ingest has to do: which files are new, changed, moved, unchanged or gone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from docrag.errors import DocumentError, UnreadableDocument
from docrag.ingest.manifest import FileRow, Manifest


@dataclass(slots=True)
class IngestPlan:
    """The files of an ingest, each in one of these lists."""

    contents: dict[str, list[FileRow]] = field(default_factory=dict)
    """Contents to read, by document id, with the files that hold them."""
    known: list[FileRow] = field(default_factory=list)
    """Files whose content is indexed already, from another path."""
    touched: list[FileRow] = field(default_factory=list)
    """Files with a new time or size and the same content."""
    unchanged: list[FileRow] = field(default_factory=list)
    gone: list[FileRow] = field(default_factory=list)
    """Files that were ingested from the folders of this ingest and no longer exist."""
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
    """Compare files with the manifest. Only files with a new size or time are read and hashed.

    Args:
        paths: What the user named. Files that are gone are looked for in the folders among them.
        files: The files found there.
        manifest: What was ingested before.
        digest: Gives the sha256 of a file, hexadecimal.
        again: Whether to read unchanged files as well.
        unreadable: Folders that could not be listed. What was ingested from them does not count as gone.
    """
    unreadable = unreadable or {}
    plan = IngestPlan(failed=[(_printable(path), error) for path, error in unreadable.items()])
    found: set[str] = set()
    for path in files:
        absolute = os.path.abspath(path)  # noqa: PTH100 (Path.resolve follows links, which are files of their own)
        if absolute not in found:
            found.add(absolute)
            _add(plan, path, absolute, manifest, digest, again=again)
    for rows in plan.contents.values():
        # The first one names the document, whatever the order of the arguments.
        rows.sort(key=lambda row: row.path)
    listed = _prefixes(path for path in paths if path not in unreadable and path.is_dir())
    hidden = _prefixes(unreadable)
    plan.gone = [
        row
        for row in manifest.files()
        if row.path.startswith(listed) and row.path not in found and not f"{row.path}/".startswith(hidden)
    ]
    return plan


def _prefixes(folders: Iterable[Path]) -> tuple[str, ...]:
    """What the absolute paths of all files below some folders start with."""
    return tuple(os.path.join(os.path.abspath(folder), "") for folder in folders)  # noqa: PTH100, PTH118


def _printable(path: Path) -> str:
    return os.fsencode(path).decode(errors="replace")


def _add(
    plan: IngestPlan,
    path: Path,
    absolute: str,
    manifest: Manifest,
    digest: Callable[[Path], str],
    *,
    again: bool,
) -> None:
    """Put a file into one of the lists of a plan."""
    if _printable(path) != str(path):  # neither SQLite nor Qdrant can store bytes that are not UTF-8
        error = UnreadableDocument(
            f"{_printable(path)}: the name is not UTF-8", "rename the file or its folder"
        )
        plan.failed.append((_printable(path), error))
        return
    before = manifest.file(absolute)
    try:
        stat = path.stat()
        same = before is not None and (before.size, before.mtime_ns) == (stat.st_size, stat.st_mtime_ns)
        if before is not None and same and not again and _is_stored(manifest, before.document_id):
            plan.unchanged.append(before)
            return
        document_id = digest(path)
    except OSError as error:
        plan.failed.append(
            (str(path), UnreadableDocument(f"{path}: {error.strerror}", "check the file's permissions"))
        )
        return
    now = FileRow(absolute, str(path), stat.st_size, stat.st_mtime_ns, document_id)
    if again or not _is_stored(manifest, document_id):
        plan.contents.setdefault(document_id, []).append(now)
    elif before is not None and before.document_id == document_id:
        plan.touched.append(now)
    else:
        plan.known.append(now)


def _is_stored(manifest: Manifest, document_id: str) -> bool:
    """Whether every page of a document that could be read is in the store."""
    document = manifest.document(document_id)
    return document is not None and document.state in ("done", "relabel")
