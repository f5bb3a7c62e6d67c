"""An index in a collection on a Qdrant server, with a directory on this machine for what no server keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from docrag.errors import IndexInUse, IndexNotFound, SettingsError, StoreError
from docrag.store.server import alias
from docrag.store.server.schema import DEFAULTS, CollectionOptions, collection_options_of
from docrag.store.server.shared import SharedStore, find_holder
from docrag.store.server.store import ServerStore, stored_fingerprint

if TYPE_CHECKING:
    from docrag.ingest.staging import Staging
    from docrag.location.base import Location
    from docrag.store.base import Store
    from docrag.store.layout import Fingerprint, Layout
    from docrag.store.server.connection import Connection


_SETTINGS = {
    "shards": "shard_number",
    "replicas": "replication_factor",
    "write_consistency": "write_consistency_factor",
    "tenant": "tenant",
}
"""Options of a collection by the settings that ask for them."""


class ServerLocation:
    """A collection on a server, and a directory on this machine.

    Args:
        dial: Connects to the server.
        folder: Made when the index is.
        options: What a new collection is given, and one that is there must have been given.
    """

    def __init__(
        self, dial: Callable[[], Connection], folder: Path, options: CollectionOptions = DEFAULTS
    ) -> None:
        self._dial = dial
        self._connection = dial()
        self._options = options
        self.uri = str(self._connection.address)
        self.folder = folder

    def fingerprint(self) -> Fingerprint | None:
        """From the collection's metadata; None where there is no collection.

        Raises:
            StoreError: docrag did not make the collection.
        """
        return stored_fingerprint(self._connection)

    def make(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """A new collection behind the name, and the directory."""
        _make_folder(self.folder)
        store = ServerStore.create(self._connection, layout, fingerprint, self._options)
        return SharedStore.of(store, find_holder(self.folder))

    def open(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """The collection; the directory may be missing where another machine filled it.

        Raises:
            IndexMismatch: It was migrated to other models meanwhile.
            SettingsError: It was given other options when it was made than are asked for.
        """
        from docrag.store.layout import require_equal

        _make_folder(self.folder)
        store = SharedStore.of(ServerStore.open(self._connection, layout), find_holder(self.folder))
        self._require_options(store.collection)
        stored = store.fingerprint()
        if stored is None:
            raise IndexNotFound(f"{self.uri} is gone", "was it dropped? Ingest something to make it anew")
        if stored != fingerprint:
            require_equal(stored, fingerprint)
            store.set_fingerprint(fingerprint)
        return store

    def staging(self) -> Location:
        """A collection of the next number, and a directory in the one of this index.

        Raises:
            StoreError: The address is a collection's own name, so that it cannot point to another one.
        """
        connection = self._dial()
        name = connection.address.collection
        info = connection.info(name)
        if info and alias.collection_behind(connection, name) == name:
            connection.close()
            hint = "export it, and import it under another name: docrag then makes an alias"
            raise StoreError(f"{self.uri} is a collection, not an alias that could point to another", hint)
        had = collection_options_of(info) if info else DEFAULTS
        return _Beside(connection, self._draft().folder, self._options.over(had), find_holder(self.folder))

    def switch(self, *, keep_old: bool) -> str:
        """The old collection keeps its own name, by which it can be searched on; its files go along.

        Raises:
            StoreError: There is something where the files should go.
        """
        connection, draft = self._connection, self._draft()
        name = connection.address.collection
        old = alias.collection_behind(connection, name) or name
        files = self.folder.with_name(self.folder.name.removesuffix(name) + old)
        if keep_old and files.exists():
            raise StoreError(
                f"{files} is in the way of the files of {old}", "move it away, and run this again"
            )
        told = {"old": old, "new": collection_of(draft.folder), "kept": str(files) if keep_old else ""}
        draft.decide(told)
        self._take_steps(draft)
        return f"{connection.address.url}/{old}" if keep_old else ""

    def recover(self) -> None:
        """Whoever searches meanwhile is answered by the old index or the new one."""
        from docrag.ingest.manifest import Manifest
        from docrag.ingest.staging import MANIFEST

        draft = self._draft()
        if draft.decision() is None:
            return
        manifest = Manifest(self.folder / MANIFEST)
        try:
            with manifest.alone():
                self._take_steps(draft)
        except IndexInUse:
            return  # by the process that takes these steps
        finally:
            manifest.close()

    def abandon(self) -> None:
        """Drop the collection, and remove the directory."""
        draft = self._draft()
        name = collection_of(draft.folder)
        if name:
            alias.drop(self._connection, name)
        draft.remove()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _require_options(self, collection: str) -> None:
        info = self._connection.info(collection)
        if info is None or not info.payload_schema:  # local mode keeps none of them
            return
        had = collection_options_of(info)
        for setting, name in _SETTINGS.items():
            was, asked = getattr(had, name), getattr(self._options, name)
            if asked and was != asked:
                raise SettingsError(
                    f"{self.uri} was made with {setting} = {was or 'none'}, asked for {asked}",
                    f"leave {setting} out; docrag migrate to other models or layouts builds it as asked",
                )

    def _draft(self) -> Staging:
        from docrag.ingest.staging import Staging

        return Staging(self.folder)

    def _take_steps(self, draft: Staging) -> None:
        """Alias first: a search is then answered by the new collection, whose images follow in a moment."""
        told = draft.decision()
        if told is None:
            return
        alias.switch_alias(self._connection, self._connection.address.collection, told["new"])
        draft.move_in()
        if not told["kept"] and told["old"] != told["new"]:
            alias.drop(self._connection, told["old"])
        draft.finish(Path(told["kept"]) if told["kept"] else None)


class _Beside:
    """A collection that no address points to yet, in the name of whose place it is to take."""

    def __init__(self, connection: Connection, folder: Path, options: CollectionOptions, holder: str) -> None:
        self.uri = str(connection.address)
        self.folder = folder
        self._connection = connection
        self._options = options
        self._holder = holder

    def fingerprint(self) -> Fingerprint | None:
        """What the draft is built with; None where none was begun."""
        from docrag.store.layout import Fingerprint

        note = self.folder / _NOTE
        return Fingerprint(json.loads(note.read_text())["fingerprint"]) if note.is_file() else None

    def make(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """The name is noted before the collection is made, so that a kill leaves none that nobody knows."""
        _make_folder(self.folder)
        told = {
            "collection": alias.next_name(self._connection),
            "fingerprint": dict(fingerprint.values),
        }
        note = self.folder / f".{_NOTE}"
        note.write_text(json.dumps(told))
        note.replace(self.folder / _NOTE)
        return self.open(fingerprint, layout)

    def open(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """The collection that was noted."""
        name = collection_of(self.folder)
        store = ServerStore.beside(self._connection, layout, fingerprint, self._options, name)
        return SharedStore.of(store, self._holder)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


_NOTE = "draft.json"


def collection_of(draft: Path) -> str:
    """The collection that is being filled for a draft; empty where there is none."""
    note = draft / _NOTE
    return str(json.loads(note.read_text())["collection"]) if note.is_file() else ""


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "say where manifest and page images are to be: DOCRAG_FILES=DIR"
        raise StoreError(f"cannot write {folder}: {error.strerror}", hint) from error
