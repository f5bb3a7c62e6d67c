"""Where an index is: in a directory, or in a collection on a Qdrant server with a directory beside it."""

from __future__ import annotations

import os
import re
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from docrag.errors import IndexNotFound, SettingsError, StoreError
from docrag.location.base import IndexLocation, Location

if TYPE_CHECKING:
    from docrag.ingest.staging import Staging
    from docrag.settings import Settings
    from docrag.store.base import Store
    from docrag.store.layout import Fingerprint, Layout
    from docrag.store.lock import FolderLock
    from docrag.store.server.address import Address

FINGERPRINT = "fingerprint.json"


def locate(settings: Settings) -> IndexLocation:
    """The place that `index` names.

    Raises:
        SettingsError: It names none.
        ServerUnreachable: It is on a server that does not answer.
        ServerRefused: The server does not take the key, or is none of Qdrant's.
        StoreError: A migration that was killed in its switch cannot be ended.
    """
    from docrag.store.server.address import Address, is_address

    uri = settings.index
    if not is_address(uri):
        if "://" in uri:
            hint = "a directory, or a collection such as http://localhost:6333/reports"
            raise SettingsError(f"{uri} is no place for an index", hint)
        _require_no_options(settings)
        place: IndexLocation = DirectoryLocation(Path(uri).expanduser())
    else:
        place = _server_place(settings, Address.parse(uri))
    place.recover()
    return place


def _server_place(settings: Settings, address: Address) -> IndexLocation:
    from docrag.location.server import ServerLocation
    from docrag.store.server.connection import connect
    from docrag.store.server.schema import CollectionOptions

    key = settings.api_key.get_secret_value() if settings.api_key else ""
    if key and not (address.secure or address.local or settings.api_key_in_clear):
        raise SettingsError(
            f"the key would go to {address.url} in the clear, for whoever stands between to read",
            "use https; or, in a network that you trust, api_key_in_clear = true in docrag.toml, "
            "DOCRAG_API_KEY_IN_CLEAR=1",
        )
    options = CollectionOptions(
        settings.tenant or "", settings.shards, settings.replicas, settings.write_consistency
    )
    return ServerLocation(
        lambda: connect(address, key, grpc_port=settings.grpc_port, ca_file=settings.ca_file or ""),
        _files_folder(settings, str(address)),
        options,
    )


def _require_no_options(settings: Settings) -> None:
    for name in ("shards", "replicas", "write_consistency", "tenant"):
        if getattr(settings, name) is not None:
            raise SettingsError(
                f"{name} is for collections on a server, and {settings.index} is a directory",
                f"leave it out of docrag.toml and DOCRAG_{name.upper()}, or name a collection in --index",
            )


def folder_of(settings: Settings) -> Path:
    """The directory of an index on this machine, which may not be there; nothing is connected to."""
    from docrag.store.server.address import Address, is_address

    uri = settings.index
    return _files_folder(settings, str(Address.parse(uri))) if is_address(uri) else Path(uri).expanduser()


def require_index(place: IndexLocation) -> Fingerprint:
    """What the index at a place was built with.

    Raises:
        IndexNotFound: There is none.
    """
    told = place.fingerprint()
    if told is None:
        hint = f"make one: docrag ingest FOLDER --index {place.uri}"
        raise IndexNotFound(f"there is no index at {place.uri}", hint)
    return told


def _files_folder(settings: Settings, address: str) -> Path:
    """The directory for what a server does not keep, one for each collection."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    root = Path(settings.files).expanduser() if settings.files else Path(data) / "docrag"
    return root / re.sub(r"[^\w.-]+", "_", address.partition("://")[2])


class DirectoryLocation:
    """A directory that one process at a time can open."""

    def __init__(self, folder: Path) -> None:
        self.uri = str(folder)
        self.folder = folder

    def fingerprint(self) -> Fingerprint | None:
        """From a file; None where there is none.

        Raises:
            StoreError: The file is damaged.
        """
        from docrag.store.layout import TEXTS, Fingerprint

        told = self.folder / FINGERPRINT
        if not told.is_file():
            return None
        values = Fingerprint.from_json(told.read_text()).values
        if values["layout"] == TEXTS:
            return Fingerprint(values)
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
        """The points; a process that was killed between the two left a fingerprint without any.

        Raises:
            IndexMismatch: It was migrated to other models meanwhile.
        """
        from docrag.store.layout import require_equal
        from docrag.store.local.store import EdgeStore

        points = self.folder / "points"
        store = EdgeStore.open(points, layout) if points.exists() else EdgeStore.create(points, layout)
        try:
            stored = self.fingerprint()  # as it is now that nobody else can change it
            if stored != fingerprint:
                if stored is not None:
                    require_equal(stored, fingerprint)
                self._remember(fingerprint)
        except BaseException:
            store.close()
            raise
        return store

    def staging(self) -> Location:
        """A directory in this one."""
        return DirectoryLocation(self._draft().folder)

    def switch(self, *, keep_old: bool) -> str:
        """The old index is kept as a directory beside this one.

        Raises:
            IndexInUse: Another process searches the index.
            StoreError: There is no place beside this one.
        """
        draft, kept = self._draft(), ""
        if keep_old:
            here = self.folder.resolve()
            numbered = (here.with_name(f"{here.name}--{number}") for number in count(1))
            kept = str(next(folder for folder in numbered if not folder.exists()))
            draft.require_room(Path(kept))
        with self._alone():
            draft.decide({"kept": kept})
            self._take_steps(draft)
        return kept

    def recover(self) -> None:
        """Nothing can be searched meanwhile, and it takes a moment."""
        draft = self._draft()
        if draft.decision() is not None:
            with self._alone():
                self._take_steps(draft)

    def abandon(self) -> None:
        """Remove the directory in this one."""
        self._draft().remove()

    def close(self) -> None:
        """It holds nothing."""

    def _draft(self) -> Staging:
        from docrag.ingest.staging import Staging

        return Staging(self.folder)

    def _alone(self) -> FolderLock:
        from docrag.store.lock import FolderLock

        return FolderLock(self.folder / "points")

    def _take_steps(self, draft: Staging) -> None:
        if (told := draft.decision()) is not None:
            draft.move_in()
            draft.finish(Path(told["kept"]) if told["kept"] else None)
