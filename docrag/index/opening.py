"""The three parts of an index, opened or made where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docrag.ingest.manifest import Manifest

if TYPE_CHECKING:
    from docrag.encode.encoders import Encoders
    from docrag.ingest.storage import Storage
    from docrag.location.base import IndexLocation, Location
    from docrag.store.layout import Fingerprint, Layout
    from docrag.types import Datatype


def open_storage(location: IndexLocation, encoders: Encoders, datatype: Datatype | None = None) -> Storage:
    """Open or make the three parts of an index; patches are stored as asked, else as they were."""
    stored = location.fingerprint()
    return open_parts(location, stored, fingerprint_for(encoders, datatype, stored))


def fingerprint_for(
    encoders: Encoders, datatype: Datatype | None = None, stored: Fingerprint | None = None
) -> Fingerprint:
    """What an index of some encoders is built with; patches are stored as asked, else as they were."""
    from docrag.store.layout import LAYOUT_VERSION, Fingerprint

    kept = datatype or (stored.values["datatype"] if stored else "float16")
    return Fingerprint({"layout": LAYOUT_VERSION, **encoders.fingerprint(), "datatype": kept})


def layout_of(fingerprint: Fingerprint) -> Layout:
    """The named vectors of an index, which follow from what it was built with."""
    from docrag.store.layout import Layout, require_pages

    require_pages(fingerprint)
    dims: dict[str, Any] = {
        name: (fingerprint.values[name] or {}).get("dim") for name in ("late", "image", "text")
    }
    datatype = fingerprint.values.get("datatype", "float16")
    return Layout.for_dims(late=dims["late"], image=dims["image"], text=dims["text"], datatype=datatype)


def open_parts(location: Location, stored: Fingerprint | None, asked: Fingerprint) -> Storage:
    """Open or make the three parts of an index; the points come first since they hold the lock.

    Raises:
        IndexMismatch: It was built with something else than was asked for.
    """
    from docrag.ingest.storage import Storage
    from docrag.store.images import PageImages
    from docrag.store.layout import require_equal

    layout = layout_of(asked)
    if stored is None:
        store = location.make(asked, layout)
    else:
        require_equal(stored, asked)
        store = location.open(asked, layout)
    return Storage(
        store, PageImages(location.folder / "images"), Manifest(location.folder / "manifest.sqlite")
    )
