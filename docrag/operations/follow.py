"""A folder of documents as an index: bring the index up to date, then open it for searching."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from pathlib import Path

from docrag.errors import DocumentError, NotFound
from docrag.index.index import Index
from docrag.settings import Settings


def open_folder(
    path: str | os.PathLike[str],
    *,
    index: str | os.PathLike[str] | None = None,
    settings: Settings | None = None,
) -> Index:
    """Bring an index up to date with a folder or a file, and open it.

    The first call reads and embeds every page. Later calls only process what changed, and forget files that
    no longer exist. Files that cannot be read are named in a warning.

    Args:
        path: A folder, a PDF or an image.
        index: Where the index is. By default every path has an index of its own (see `index_of`).
        settings: The same as for `Index.open`.

    Raises:
        NotFound: The path does not exist.
        DocumentError: There are no files, or none of them can be read.
        IndexInUse: Another process holds the directory without sharing it (`in_process`).
    """
    if not Path(path).exists():
        raise NotFound(f"{path} does not exist", "name a folder or a file")
    opened = Index.open(index or index_of(path), settings=settings)
    try:
        _bring_up_to_date(opened, path)
    except BaseException:
        opened.close()
        raise
    return opened


def index_of(path: str | os.PathLike[str]) -> Path:
    """The default place for the index of a folder or file, a different one for each path.

    It is in the user's data directory (`~/.local/share/docrag/folders`, or below XDG_DATA_HOME), so that
    nothing is written into the folder itself.
    """
    resolved = Path(path).resolve()
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    name = re.sub(r"[^\w.-]+", "_", resolved.name)[:40]
    digest = hashlib.sha256(os.fsencode(resolved)).hexdigest()[:12]
    return Path(data) / "docrag" / "folders" / f"{name}-{digest}"


def _bring_up_to_date(index: Index, path: str | os.PathLike[str]) -> None:
    """Ingest a path, and warn about files that failed.

    Raises:
        DocumentError: No page of the path is in the index afterwards.
    """
    report = index.ingest(path, prune=True)
    failures = "; ".join(f"{file.file}: {file.error}" for file in report.failures[:5])
    if not any(file.pages for file in report.files if file.status != "removed"):
        raise DocumentError(
            f"no page of {path} can be retrieved", failures or "name a folder with PDFs or images"
        )
    if report.failures:
        warnings.warn(f"{len(report.failures)} files could not be read completely: {failures}", stacklevel=4)
