"""Where an index is: in a directory, or in a collection on a Qdrant server with a directory beside it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from docrag.errors import IndexNotFound, SettingsError, StoreError

if TYPE_CHECKING:
    from docrag.settings import Settings
    from docrag.store.base import Store
    from docrag.store.connection import Connection
    from docrag.store.layout import Fingerprint, Layout

FINGERPRINT = "fingerprint.json"


class Place(Protocol):
    """Where the points of an index are, and the files beside them."""

    uri: str
    folder: Path
    """Manifest, page images, captions of a vision model, and what was tuned."""

    def fingerprint(self) -> Fingerprint | None:
        """What the index was built with; None where there is none."""
        ...

    def make(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """A new index."""
        ...

    def open(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """The index that is there; a fingerprint that is not the stored one takes its place."""
        ...

    def close(self) -> None:
        """Let go of a connection that no store has taken over."""
        ...


def place_of(settings: Settings) -> Place:
    """The place that `index` names.

    Raises:
        SettingsError: It names none.
        ServerUnreachable: It is on a server that does not answer.
        ServerRefused: The server does not take the key, or is none of Qdrant's.
    """
    from docrag.store.address import Address, is_address

    uri = settings.index
    if not is_address(uri):
        if "://" in uri:
            hint = "a directory, or a collection such as http://localhost:6333/reports"
            raise SettingsError(f"{uri} is no place for an index", hint)
        return DirectoryPlace(Path(uri).expanduser())
    from docrag.store.connection import connect

    address = Address.parse(uri)
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    return ServerPlace(connect(address, key, grpc_port=settings.grpc_port), _beside(settings, str(address)))


def folder_of(settings: Settings) -> Path:
    """The directory of an index on this machine, which may not be there; nothing is connected to."""
    from docrag.store.address import Address, is_address

    uri = settings.index
    return _beside(settings, str(Address.parse(uri))) if is_address(uri) else Path(uri).expanduser()


def require_index(place: Place) -> Fingerprint:
    """What the index at a place was built with.

    Raises:
        IndexNotFound: There is none.
    """
    told = place.fingerprint()
    if told is None:
        hint = f"make one: docrag ingest FOLDER --index {place.uri}"
        raise IndexNotFound(f"there is no index at {place.uri}", hint)
    return told


def _beside(settings: Settings, address: str) -> Path:
    """The directory for what a server does not keep, one for each collection."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    root = Path(settings.files).expanduser() if settings.files else Path(data) / "docrag"
    return root / re.sub(r"[^\w.-]+", "_", address.partition("://")[2])


class DirectoryPlace:
    """A directory that one process at a time can open."""

    def __init__(self, folder: Path) -> None:
        self.uri = str(folder)
        self.folder = folder

    def fingerprint(self) -> Fingerprint | None:
        """From a file; None where there is none.

        Raises:
            StoreError: The file is damaged.
        """
        from docrag.store.layout import Fingerprint

        told = self.folder / FINGERPRINT
        if not told.is_file():
            return None
        values = Fingerprint.from_json(told.read_text()).values
        return Fingerprint({"keep_patches": "all", "datatype": "float16", **values})  # older ones do not say

    def _remember(self, fingerprint: Fingerprint) -> None:
        """Write the file, whole or not at all."""
        draft = self.folder / f".{FINGERPRINT}"
        draft.write_text(fingerprint.to_json())
        draft.replace(self.folder / FINGERPRINT)

    def make(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """A new index; the fingerprint comes first, so that nobody finds points that he cannot read.

        Raises:
            StoreError: There is something else in the directory, or it cannot be written.
        """
        folder = self.folder
        there = folder.exists()
        if there and (not folder.is_dir() or any(not name.name.startswith(".") for name in folder.iterdir())):
            hint = "name a directory that is empty or not there yet"
            raise StoreError(f"{folder} exists and is no index", hint)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._remember(fingerprint)
        except OSError as error:
            raise StoreError(f"cannot write {folder}: {error.strerror}", "choose another --index") from error
        return self.open(fingerprint, layout)

    def open(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """The points; a process that was killed between the two left a fingerprint without any."""
        from docrag.store.edge import EdgeStore

        if fingerprint != self.fingerprint():
            self._remember(fingerprint)
        points = self.folder / "points"
        return EdgeStore.open(points, layout) if points.exists() else EdgeStore.create(points, layout)

    def close(self) -> None:
        """It holds nothing."""


class ServerPlace:
    """A collection on a server, and a directory on this machine for what the server does not keep.

    Args:
        connection: To the server.
        folder: Made when the index is.
    """

    def __init__(self, connection: Connection, folder: Path) -> None:
        self.uri = str(connection.address)
        self.folder = folder
        self._connection = connection

    def fingerprint(self) -> Fingerprint | None:
        """From the collection's metadata; None where there is no collection.

        Raises:
            StoreError: docrag did not make the collection.
        """
        from docrag.store.server import stored_fingerprint

        return stored_fingerprint(self._connection)

    def make(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """A new collection behind the name, and the directory."""
        from docrag.store.server import ServerStore

        self._make_folder()
        return ServerStore.create(self._connection, layout, fingerprint)

    def open(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """The collection; the directory may be missing where another machine filled it."""
        from docrag.store.server import ServerStore

        self._make_folder()
        store = ServerStore.open(self._connection, layout)
        if fingerprint != store.fingerprint():
            store.set_fingerprint(fingerprint)
        return store

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            hint = "say where manifest and page images are to be: DOCRAG_FILES=DIR"
            raise StoreError(f"cannot write {self.folder}: {error.strerror}", hint) from error
