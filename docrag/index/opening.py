"""The parts of an index (points, page images, manifest), opened or created at its location."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from docrag.errors import IndexMismatch, IndexReplaced
from docrag.ingest.manifest import Manifest
from docrag.ingest.staging import IMAGES, MANIFEST
from docrag.ingest.storage import Storage
from docrag.store.base import Shared
from docrag.store.images import PageImages
from docrag.store.layout import LAYOUT_VERSION, Fingerprint, Layout, require_equal, require_pages

if TYPE_CHECKING:
    from docrag.encode.encoders import Encoders
    from docrag.location.base import IndexLocation, Location
    from docrag.store.base import Store
    from docrag.types import Datatype


def open_storage(location: IndexLocation, encoders: Encoders, datatype: Datatype | None = None) -> Storage:
    """Open or create the parts of an index for some encoders.

    Args:
        location: Where the index is.
        encoders: Its encoders.
        datatype: How patches are stored. By default as in the existing index, or float16 for a new one.
    """
    stored = location.fingerprint()
    expected = fingerprint_for(encoders, datatype, stored or location.detached())
    return open_parts(location, stored, expected)


def existing_fingerprint(location: IndexLocation) -> Fingerprint | None:
    """What the index at a location was built with, even if it has lost its name; None if there is none."""
    return location.fingerprint() or location.detached()


def fingerprint_for(
    encoders: Encoders, datatype: Datatype | None = None, stored: Fingerprint | None = None
) -> Fingerprint:
    """The fingerprint of an index that is built with some encoders.

    Args:
        encoders: The encoders.
        datatype: How patches are stored. By default as in `stored`, or float16.
        stored: The fingerprint of the existing index, if there is one.
    """
    datatype = datatype or (stored.values["datatype"] if stored else "float16")
    return Fingerprint({"layout": LAYOUT_VERSION, **encoders.fingerprint(), "datatype": datatype})


def layout_of(fingerprint: Fingerprint) -> Layout:
    """The named vectors of an index, which follow from its fingerprint."""
    require_pages(fingerprint)

    def dim(encoder: str) -> int | None:
        return (fingerprint.values[encoder] or {}).get("dim")

    return Layout.for_dims(
        late=dim("late"),
        image=dim("image"),
        text=fingerprint.values["text"]["dim"],
        datatype=fingerprint.values.get("datatype", "float16"),
    )


def open_parts(location: Location, stored: Fingerprint | None, expected: Fingerprint) -> Storage:
    """Open or create the parts of an index. The points come first, because they hold the lock.

    Args:
        location: Where the index is.
        stored: What the existing index was built with, or None to create one.
        expected: What the index must be built with.

    Raises:
        IndexMismatch: `stored` and `expected` differ.
    """
    layout = layout_of(expected)
    if stored is None:
        store = location.make(expected, layout)
    else:
        require_equal(stored, expected)
        store = location.open(expected, layout)
    return Storage(
        store,
        PageImages(location.folder / IMAGES),
        Manifest(location.folder / MANIFEST),
        require_current=partial(_require_current, location, expected, store),
        name=location.name,
    )


def _require_current(location: Location, expected: Fingerprint, store: Store) -> None:
    """Check that the index is still the one that was opened.

    Raises:
        IndexReplaced: A migration has put another one in its place.
        IndexNotFound: The name of a collection on a server is gone.
    """
    current = location.fingerprint()
    if current is not None:
        try:
            require_equal(current, expected)
        except IndexMismatch as error:
            hint = f"open it again; {error.message}"
            raise IndexReplaced(f"{location.uri} was migrated after it was opened", hint) from error
    if isinstance(store, Shared):
        store.require_current()
