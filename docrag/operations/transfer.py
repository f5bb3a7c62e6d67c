"""Carry an index from one place to another, without its models: to a server, or into a backup."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from docrag.index.opening import layout_of, open_parts
from docrag.location.directory import locate, require_index
from docrag.settings import load_settings

if TYPE_CHECKING:
    from docrag.ingest.report import Progress
    from docrag.operations.archive import Transfer
    from docrag.store.archive import Archive, Contents
    from docrag.types import Datatype

CAPTIONS = "captions.jsonl"
"""In an export: what a vision model said of pages."""

Listener = Callable[["Progress"], None]


def export_index(uri: str, folder: str | os.PathLike[str], listener: Listener | None = None) -> Transfer:
    """Write an index into a folder of plain files; an export that was killed goes on.

    What a vision model said of pages and what `docrag tune` chose go with it.

    Args:
        uri: The index.
        folder: Empty, not there yet, or with an earlier export of the index, which is brought up to date.
        listener: Hears after each part.

    Raises:
        IndexNotFound: There is no index.
        IndexInUse: Another process holds it.
        StoreError: There is something else in the folder.
    """
    from docrag.caption.cache import FILE, CaptionCache
    from docrag.operations.archive import export
    from docrag.store.archive import Archive
    from docrag.tuning import plan as tuned

    location = locate(load_settings(index=uri))
    told = require_index(location)
    with closing(open_parts(location, told, told)) as storage, storage.alone():
        plan, kept = location.folder / tuned.FILE, location.folder / FILE
        with closing(CaptionCache(kept)) if kept.is_file() else nullcontext() as captions:
            beside = {
                CAPTIONS: captions.lines() if captions else (),
                tuned.FILE: [plan.read_bytes()] if tuned.load_plan(location.folder) else (),
            }
            done = export(storage, told, layout_of(told), Archive(Path(folder)), listener or _silent, beside)
            done.captions = len(captions) if captions else 0
    return done


def import_index(
    folder: str | os.PathLike[str],
    uri: str,
    listener: Listener | None = None,
    *,
    datatype: Datatype | None = None,
    image_base_url: str | None = None,
) -> Transfer:
    """Bring an index up to date with an export, or make it; an import that was killed goes on.

    Captions of a vision model that the index has itself stay. What `docrag tune` chose is taken where the
    index has the same pages and no plan of its own that fits.

    Args:
        folder: Of a finished export.
        uri: The index.
        listener: Hears after each part.
        datatype: How patches are stored there; else as the index has them, else as the exported one had.
        image_base_url: Where page images are served from now on; likewise.

    Raises:
        IndexNotFound: There is no export in the folder.
        IndexMismatch: The index was built by other models, or holds texts and no pages.
        IndexInUse: Another process holds it.
        StoreError: The export is not finished, or damaged.
    """
    from docrag.operations.archive import import_archive
    from docrag.store.archive import Archive
    from docrag.store.layout import Fingerprint, require_equal, require_pages

    archive = Archive(Path(folder))
    contents = archive.contents()
    settings = load_settings(index=uri, image_base_url=image_base_url)
    location = locate(settings)
    told, stored = dict(contents.fingerprint), location.fingerprint()
    if stored:
        require_pages(stored)
    kept = datatype or (stored.values["datatype"] if stored else told.get("datatype", "float16"))
    asked = Fingerprint({**told, "datatype": kept})
    if stored:
        require_equal(stored, asked)
    known = stored or asked  # it knows where its weights lie
    with closing(open_parts(location, stored, known)) as storage, storage.alone():
        captions = _take_captions(archive, contents, location.folder)
        done = import_archive(storage, contents, archive, listener or _silent, settings.image_base_url)
        done.captions = captions
        left_out = _take_plan(archive, contents, location.folder, storage.store.count())
        done.left_out = (left_out,) if left_out else ()
    return done


def _take_captions(archive: Archive, contents: Contents, home: Path) -> int:
    """Keep what a vision model said of exported pages; how many captions were new."""
    from docrag.caption.cache import FILE, CaptionCache

    if CAPTIONS not in {file.name for file in contents.attachments}:
        return 0
    with closing(CaptionCache(home / FILE)) as kept:
        return kept.merge(archive.read_attachment(CAPTIONS, contents))


def _take_plan(archive: Archive, contents: Contents, home: Path, pages: int) -> str:
    """Let the index be searched as the exported one was tuned; else why not.

    Args:
        archive: The export.
        contents: Of it.
        home: Directory of the index.
        pages: Of the index, which has those of the export.
    """
    from docrag.tuning.plan import FILE, load_plan, plan_of, save_plan

    text = b"".join(archive.read_attachment(FILE, contents))
    if not text:
        return ""
    known = sum(len(part.pages) for part in contents.parts)
    plan, own = plan_of(text, archive.folder / FILE), load_plan(home)
    if pages != known:
        return f"{FILE}: the export has {known} pages and the index {pages}; run docrag tune on it"
    if own and own != plan and own.fits(pages):
        return f"{FILE}: the index was tuned where it is; remove {home / FILE} to take over the export's"
    save_plan(home, plan)
    return ""


def _silent(event: Progress) -> None:
    """For callers who do not listen."""
