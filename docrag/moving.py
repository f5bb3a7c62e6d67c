"""Carry an index from one place to another, without its models: from a laptop to a server, into a backup."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from docrag.opening import layout_of, open_parts
from docrag.place import place_of, require_index
from docrag.settings import load_settings

if TYPE_CHECKING:
    from docrag.ingest.report import Progress
    from docrag.ingest.transfer import Transfer
    from docrag.store.layout import Datatype

Listener = Callable[["Progress"], None]


def export_index(uri: str, folder: str | os.PathLike[str], listener: Listener | None = None) -> Transfer:
    """Write an index into a folder of plain files; an export that was killed goes on.

    Args:
        uri: The index.
        folder: Empty, not there yet, or with an earlier export of the index, which is brought up to date.
        listener: Hears after each part.

    Raises:
        IndexNotFound: There is no index.
        IndexInUse: Another process holds it.
        StoreError: There is something else in the folder.
    """
    from docrag.ingest.transfer import export
    from docrag.store.archive import Archive

    place = place_of(load_settings(index=uri))
    told = require_index(place)
    with closing(open_parts(place, told, told)) as shelf:
        return export(shelf, told, layout_of(told), Archive(Path(folder)), listener or _silent)


def import_index(
    folder: str | os.PathLike[str],
    uri: str,
    listener: Listener | None = None,
    *,
    datatype: Datatype | None = None,
) -> Transfer:
    """Bring an index up to date with an export, or make it; an import that was killed goes on.

    Args:
        folder: Of a finished export.
        uri: The index.
        listener: Hears after each part.
        datatype: How patches are stored there; else as the index has them, else as the exported one had.

    Raises:
        IndexNotFound: There is no export in the folder.
        IndexMismatch: The index was built by other models.
        IndexInUse: Another process holds it.
        StoreError: The export is not finished, or damaged.
    """
    from docrag.ingest.transfer import import_archive
    from docrag.store.archive import Archive
    from docrag.store.layout import Fingerprint, require_equal

    archive = Archive(Path(folder))
    contents = archive.contents()
    place = place_of(load_settings(index=uri))
    told, stored = dict(contents.fingerprint), place.fingerprint()
    kept = datatype or (stored.values["datatype"] if stored else told.get("datatype", "float16"))
    asked = Fingerprint({**told, "datatype": kept})
    if stored:
        require_equal(stored, asked)
    with closing(open_parts(place, stored, stored or asked)) as shelf:  # it knows where its weights lie
        return import_archive(shelf, contents, archive, listener or _silent)


def _silent(event: Progress) -> None:
    """For callers who do not listen."""
