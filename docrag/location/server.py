"""An index in a collection on a Qdrant server, with a directory on this machine for what no server keeps."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from docrag.common.files import write_atomically
from docrag.errors import IndexInUse, IndexNotFound, IndexReplaced, SettingsError, StoreError
from docrag.ingest.manifest import Manifest
from docrag.ingest.staging import MANIFEST, Staging
from docrag.location.base import no_index
from docrag.store.identity import CollectionIdentity, folder_of, note_identity, noted_address, noted_identity
from docrag.store.layout import Fingerprint, Layout, require_equal
from docrag.store.server import alias
from docrag.store.server.address import Address
from docrag.store.server.schema import (
    DEFAULTS,
    CollectionOptions,
    identity_metadata,
    read_fingerprint,
    read_identity,
    read_options,
    require_tenant,
)
from docrag.store.server.shared import SharedStore, load_holder_name
from docrag.store.server.store import ServerStore, stored_fingerprint

if TYPE_CHECKING:
    from docrag.location.base import Location
    from docrag.store.base import Store
    from docrag.store.server.connection import Connection

logger = logging.getLogger(__name__)

_STAGING_FILE = "draft.json"
"""In the staging folder: the name of the staging collection, and the fingerprint it is built with."""

_OPTIONS = {
    "shards": "shard_number",
    "replicas": "replication_factor",
    "write_consistency": "write_consistency_factor",
    "tenant": "tenant",
}
"""The field of CollectionOptions for each setting."""


class ServerLocation:
    """A collection on a server, and a directory on this machine.

    Args:
        connect: Opens a connection to the server.
        folder: The directory for this address; created together with the index. Another directory beside it
            is used if it belongs to the same collection, which was reached by another address before.
        options: Applied to a new collection; an existing one must have been created with the same.
    """

    def __init__(
        self, connect: Callable[[], Connection], folder: Path, options: CollectionOptions = DEFAULTS
    ) -> None:
        self._connect = connect
        self._connection = connect()
        self._options = options
        self.uri = self.address = str(self._connection.address)
        self.name = self._connection.address.collection
        self.dashboard = self._connection.address.dashboard
        try:
            self.folder = self._folder_of_collection(folder)
        except BaseException:
            self._connection.close()
            raise
        self._staging = Staging(self.folder)

    def fingerprint(self) -> Fingerprint | None:
        """Read the fingerprint from the collection's metadata; None if there is no collection.

        Raises:
            StoreError: The collection was not created by docrag.
        """
        return stored_fingerprint(self._connection)

    def make(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """Create a collection with its alias, and the directory.

        If another machine has created the collection in the meantime, it is opened; one that has lost its
        alias gets it again.

        Raises:
            IndexMismatch: The other machine has created it with other models.
            SettingsError: The collection was created with other options than the settings ask for, or no page
                has the tenant.
        """
        require_tenant(self._options.tenant, fingerprint)
        _make_folder(self.folder)
        options = replace(self._options, identity=uuid4().hex)
        ServerStore.create(self._connection, layout, fingerprint, options)
        return self.open(fingerprint, layout)

    def open(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """Open the collection; the directory is created if another machine filled the collection.

        Raises:
            IndexNotFound: The collection was dropped in the meantime.
            IndexMismatch: The index was migrated to other models in the meantime.
            SettingsError: The collection was created with other options than the settings ask for.
        """
        _make_folder(self.folder)
        store = SharedStore.of(ServerStore.open(self._connection, layout), load_holder_name(self.folder))
        self._note_identity(store.collection, self.folder)
        self._require_options(store.collection)
        stored = store.fingerprint()
        if stored is None:
            raise IndexNotFound(
                f"the collection {self.uri} no longer exists", "ingest the documents again to recreate it"
            )
        if stored != fingerprint:
            require_equal(stored, fingerprint)
            store.set_fingerprint(fingerprint)
        return store

    def detached(self) -> Fingerprint | None:
        """Return what the one collection was built with that has lost its alias; None if there is none."""
        fingerprints = list(alias.detached_collections(self._connection).values())
        return fingerprints[0] if len(fingerprints) == 1 else None

    def not_found(self) -> IndexNotFound:
        """Return the error that says that there is no index here; it names collections without an alias."""
        detached = list(alias.detached_collections(self._connection))
        if not detached:
            return no_index(self.uri)
        url = f"{self._connection.address.url}/{detached[-1]}"
        hint = f"--index {url} opens it"
        if len(detached) == 1:
            hint = f"docrag ingest FOLDER --index {self.uri} lets the name point to it again; {hint}"
        return IndexNotFound(
            f"there is no index at {self.uri}, but {_listed(detached)} there, to which no alias points", hint
        )

    def staging(self) -> Location:
        """Return a collection with the next number, and the staging folder inside this index's directory.

        Raises:
            StoreError: The address is the name of a collection, not an alias that can be switched.
            SettingsError: No page has the tenant.
        """
        self._require_new_tenant()
        connection = self._connect()
        name = connection.address.collection
        info = connection.info(name)
        if info and alias.collection_behind(connection, name) == name:
            connection.close()
            raise StoreError(
                f"{self.uri} is a collection, not an alias that can be switched to another collection",
                "export it and import it under another name: docrag then creates an alias",
            )
        existing = read_options(info) if info else DEFAULTS
        return StagingCollection(
            connection,
            self._staging.folder,
            self._options.with_defaults(replace(existing, identity=existing.identity or uuid4().hex)),
            load_holder_name(self.folder),
        )

    def switch(self, *, keep_old: bool) -> str:
        """Let the alias point to the staging collection, and replace the files in the directory.

        With `keep_old` the old collection can still be searched under its own name; its files move to a
        directory of that name.

        Raises:
            IndexReplaced: Another machine has migrated the index since this migration began.
            StoreError: Something else exists where the old files would go.
        """
        connection = self._connection
        name = connection.address.collection
        old = alias.collection_behind(connection, name) or name
        new = _collection_in(self._staging.folder)
        replaces = _recorded(self._staging.folder).get("replaces", old)
        if old not in (new, replaces):
            raise IndexReplaced(
                f"{self.uri} was migrated elsewhere in the meantime: it is {old} now",
                "drop what was built here: docrag migrate --abandon; then migrate again if that is needed",
            )
        old_folder = self.folder.with_name(self.folder.name.removesuffix(name) + old)
        if keep_old and old_folder.exists():
            raise StoreError(
                f"the files of {old} cannot be kept: {old_folder} is in the way", "move it away and run again"
            )
        self._staging.decide(
            {
                "old": old,
                "new": new,
                "kept": str(old_folder) if keep_old else "",
                "kept_identity": uuid4().hex if keep_old else "",
            }
        )
        self._finish_switch()
        return f"{connection.address.url}/{old}" if keep_old else ""

    def recover(self) -> None:
        """Finish an interrupted switch; searches keep being answered, by the old index or the new one."""
        if self._staging.decision() is None:
            return
        with closing(Manifest(self.folder / MANIFEST)) as manifest:
            try:
                with manifest.exclusive():
                    logger.info("finishing the interrupted switch of %s", self.uri)
                    self._finish_switch()
            except IndexInUse:
                logger.debug("another process is finishing the switch of %s", self.uri)

    def abandon(self) -> None:
        """Drop the staging collection and remove the staging folder."""
        collection = _collection_in(self._staging.folder)
        # Another machine that built the same collection may have switched to it.
        if collection and collection != self._current():
            alias.drop_collection(self._connection, collection)
        self._staging.remove()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _require_options(self, collection: str) -> None:
        info = self._connection.info(collection)
        if info is None or not info.payload_schema:  # the client's local mode keeps no options
            return
        existing = read_options(info)
        for setting, field in _OPTIONS.items():
            current, requested = getattr(existing, field), getattr(self._options, field)
            if requested and current != requested:
                raise SettingsError(
                    f"{self.uri} was made with {setting} = {current or 'none'}, asked for {requested}",
                    f"leave {setting} out; it applies when docrag migrate builds a new collection",
                )

    def _current(self) -> str | None:
        """Return the collection that answers at this address."""
        return alias.collection_behind(self._connection, self._connection.address.collection)

    def _require_new_tenant(self) -> None:
        """Check the tenant that the settings ask for; one that the index has already is kept as it is."""
        info = self._connection.info(self._connection.address.collection)
        if info and self._options.tenant != read_options(info).tenant:
            require_tenant(self._options.tenant, read_fingerprint(info, self.uri))

    def _finish_switch(self) -> None:
        """Take the remaining steps of a decided switch; each of them may be repeated.

        The alias comes first: searches are then answered by the new collection, whose page images follow
        within a moment. If another machine has migrated the index since the switch was decided, its result
        stays, and the files here still move in: the next ingest reads again what the collection lacks.
        """
        decision = self._staging.decision()
        if decision is None:
            return
        name, old, new = self._connection.address.collection, decision["old"], decision["new"]
        try:
            alias.switch_alias(self._connection, name, new, expected=old)
        except IndexReplaced as error:
            logger.warning("%s", error.message)
        self._staging.move_in()
        if not decision["kept"] and old not in (new, self._current()):
            alias.drop_collection(self._connection, decision["old"])
        kept = Path(decision["kept"]) if decision["kept"] else None
        if kept:
            self._rename_identity(old, decision.get("kept_identity", ""))
        self._staging.finish(kept)
        if kept:
            self._note_identity(old, kept)

    def _folder_of_collection(self, folder: Path) -> Path:
        """Return the directory that belongs to the collection; the one for this address if none does yet."""
        connection = self._connection
        name = connection.address.collection
        info = connection.info(name)
        id = read_identity(info) if info else ""
        noted = noted_identity(folder)
        # An older docrag made directories in which nothing is noted.
        is_older = noted is None and (folder / MANIFEST).exists()
        if not id or is_older or (noted and noted.id == id):
            return folder
        identity = CollectionIdentity.of(alias.collection_behind(connection, name) or name, id)
        other = folder_of(identity, folder.parent)
        if other is None:
            return folder
        self._warn_if_shared(other)
        return other

    def _warn_if_shared(self, folder: Path) -> None:
        """Warn if the directory was made for another address, whose server may hold another collection."""
        noted = noted_address(folder)
        if noted and not self._connection.address.may_be_server_of(Address.parse(noted)):
            logger.warning(
                "%s uses %s together with %s: if one of them is a copy, such as a restored snapshot, give "
                "it another directory with DOCRAG_FILES",
                self.uri,
                folder,
                noted,
            )

    def _note_identity(self, collection: str, folder: Path) -> None:
        """Note in a directory that it belongs to a collection, if that has an id."""
        info = self._connection.info(collection)
        if info and (id := read_identity(info)):
            note_identity(folder, CollectionIdentity.of(collection, id), self.uri)

    def _rename_identity(self, collection: str, id: str) -> None:
        """Give an old collection that is kept an id of its own; the new one has taken its id over."""
        if id:
            client, metadata = self._connection.client, identity_metadata(id)
            self._connection.call(lambda: client.update_collection(collection, metadata=metadata))


class StagingCollection:
    """A collection that is built to replace another one; no alias points to it yet.

    Args:
        connection: To the server; closed with this location.
        folder: The staging folder.
        options: Applied to the collection when it is created.
        holder: The name under which this machine holds documents.
    """

    def __init__(self, connection: Connection, folder: Path, options: CollectionOptions, holder: str) -> None:
        self.uri = self.address = str(connection.address)
        self.name = connection.address.collection
        self.folder = folder
        self._connection = connection
        self._options = options
        self._holder = holder

    def fingerprint(self) -> Fingerprint | None:
        """Return what the collection is built with; None if none was begun."""
        recorded = _recorded(self.folder)
        return Fingerprint(recorded["fingerprint"]) if recorded else None

    def make(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """Create the collection. Its name is recorded first, so that a kill leaves no unknown collection."""
        _make_folder(self.folder)
        name = self._connection.address.collection
        content = {
            "collection": alias.next_collection_name(self._connection),
            "replaces": alias.collection_behind(self._connection, name) or name,
            "fingerprint": dict(fingerprint.values),
        }
        write_atomically(self.folder / _STAGING_FILE, json.dumps(content))
        return self.open(fingerprint, layout)

    def open(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """Open the recorded collection; create it if the process was killed before it existed."""
        name = _collection_in(self.folder)
        store = ServerStore.staging(self._connection, layout, fingerprint, self._options, name)
        return SharedStore.of(store, self._holder)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _collection_in(staging_folder: Path) -> str:
    """Return the name of the staging collection; empty if none was begun."""
    return str(_recorded(staging_folder).get("collection", ""))


def _recorded(staging_folder: Path) -> dict[str, Any]:
    """Return what `StagingCollection.make` recorded; empty if no staging collection was begun."""
    file = staging_folder / _STAGING_FILE
    recorded: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return recorded


def _listed(collections: Sequence[str]) -> str:
    """Return names as the subject of a sentence.

    >>> _listed(["reports--1"]), _listed(["reports--1", "reports--2"])
    ('the collection reports--1 is', 'the collections reports--1, reports--2 are')
    """
    names = ", ".join(collections)
    return f"the collection {names} is" if len(collections) == 1 else f"the collections {names} are"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot write {folder}: {error.strerror}",
            "choose another directory for the manifest and page images: DOCRAG_FILES=DIR",
        ) from error
