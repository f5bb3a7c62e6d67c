"""A folder of documents as an index: brought up to date, then open to be searched."""

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
    """Bring an index up to date with a folder (or file), and open it.

    The first call reads and embeds every page; later ones only what changed, and files that are gone are
    forgotten. Files that cannot be read are named in a warning.

    Args:
        path: A folder, a PDF or an image.
        index: Where the index is; by default one of its own for each path (`index_of`).
        settings: As `Index.open` takes them.

    Raises:
        NotFound: There is no such path.
        DocumentError: None of the files could be read, or there are none.
        IndexInUse: Another process, or another part of this one, holds the index.
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
    """Where the index of a folder or file is by default: one place for each path.

    It is in the user's data directory (`~/.local/share/docrag/folders`, or under XDG_DATA_HOME), so that
    nothing is written into the folder and two folders never answer for each other.
    """
    there = Path(path).resolve()
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    name = re.sub(r"[^\w.-]+", "_", there.name)[:40]
    digest = hashlib.sha256(os.fsencode(there)).hexdigest()[:12]
    return Path(data) / "docrag" / "folders" / f"{name}-{digest}"


def _bring_up_to_date(index: Index, path: str | os.PathLike[str]) -> None:
    """Ingest a path; what failed is a warning, unless nothing is left to retrieve.

    Raises:
        DocumentError: No page of it is in the index.
    """
    report = index.ingest(path, prune=True)
    told = "; ".join(f"{file.file}: {file.error}" for file in report.failures[:5])
    if not any(file.pages for file in report.files if file.status != "removed"):
        raise DocumentError(f"no page of {path} can be retrieved", told or "PDFs and images are documents")
    if report.failures:
        warnings.warn(f"{len(report.failures)} files could not be read whole: {told}", stacklevel=4)
