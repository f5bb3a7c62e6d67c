"""An index in a directory: any number of processes use it, and one of them, the engine's own, holds it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from docrag.common.files import FolderLock, is_writable, write_atomically
from docrag.errors import IndexInUse, IndexNotFound, StoreError
from docrag.ingest.staging import Staging
from docrag.location.base import no_index
from docrag.location.names import FINGERPRINT, POINTS, index_name
from docrag.store.layout import TEXTS, Fingerprint, require_equal

if TYPE_CHECKING:
    from docrag.location.base import Location
    from docrag.store.base import Store
    from docrag.store.layout import Layout
    from docrag.store.local.process import EngineProcess

logger = logging.getLogger(__name__)

IDLE_SECONDS = 600.0
"""How long the engine's process of a directory stays after its last user; the default of `engine_idle`."""

LOCK_PATIENCE = 30.0
"""Seconds for which a switch waits for the points: an engine's process that ends flushes them, and another
migration may be about to finish."""
_POLL_SECONDS = 0.02


class DirectoryLocation:
    """An index in a directory: fingerprint, points, manifest and page images side by side.

    Args:
        folder: The directory, which need not exist.
        in_process: Whether this process opens the points itself. Otherwise the engine's own process holds
            them, for any number of processes; it is started when it is needed.
        idle_seconds: How long that process stays after its last user has left.
        name: The name of the index in the addresses of its page images. By default that of the directory.
    """

    def __init__(
        self, folder: Path, *, in_process: bool = False, idle_seconds: float = IDLE_SECONDS, name: str = ""
    ) -> None:
        self.uri = str(folder)
        self.address = str(folder.resolve())
        self.dashboard = ""
        self.name = name or index_name(self.address)
        self.folder = folder
        self._in_process = in_process
        self._idle_seconds = idle_seconds
        self._staging = Staging(folder)

    def fingerprint(self) -> Fingerprint | None:
        """What the index was built with, read from a file; None if there is none.

        Raises:
            StoreError: The file is damaged, or may not be read.
        """
        path = self.folder / FINGERPRINT
        try:
            if not path.is_file():
                return None
            fingerprint = Fingerprint.from_json(path.read_text())
        except PermissionError as error:
            raise StoreError(
                f"{self.folder} may not be read by this user", "let its owner permit it: chmod -R a+rX"
            ) from error
        if fingerprint.values["layout"] == TEXTS:
            return fingerprint
        # Indexes of older versions do not name these two.
        return Fingerprint({"keep_patches": "all", "datatype": "float16", **fingerprint.values})

    def make(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """Create a new index. The fingerprint is written first, so that there are never points without one.

        If another process has created it in the meantime, it is opened.

        Raises:
            IndexMismatch: Another process has created one with other models in the meantime.
            StoreError: The directory holds something else, or it cannot be written.
        """
        if not self._is_empty():
            if self.fingerprint() is None:
                raise StoreError(
                    f"{self.folder} exists and is not an index",
                    "name a directory that is empty or does not exist",
                )
            logger.info("another process has made the index in %s", self.folder)
            return self.open(fingerprint, layout)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write_fingerprint(fingerprint)
        except OSError as error:
            raise StoreError(
                f"cannot write {self.folder}: {error.strerror}", "choose another --index"
            ) from error
        logger.info("a new index is made in %s", self.folder)
        return self.open(fingerprint, layout)

    def open(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """Open the points. If a process was killed after it wrote the fingerprint, they are created now.

        In a folder that cannot be written they can be searched and not changed.

        Raises:
            IndexInUse: Another process holds the directory without sharing it.
            IndexMismatch: The index was migrated to other models in the meantime.
        """
        if self._is_read_only():
            return self._open_read_only(fingerprint, layout)
        if self._in_process:
            return self._open_here(fingerprint, layout)
        from docrag.store.local.remote import RemoteStore

        return RemoteStore(self.process(), fingerprint, layout)

    def process(self) -> EngineProcess:
        """The engine's own process of this directory, which need not be running."""
        from docrag.store.local.process import EngineProcess
        from docrag.store.local.wire import CODEC

        # Absolute: a handle outlives a change of the working directory.
        return EngineProcess(self.folder.absolute(), self._idle_seconds, CODEC)

    def confirm(self, fingerprint: Fingerprint) -> None:
        """Check what the index was built with, while nobody else can replace it.

        Raises:
            IndexMismatch: It was migrated to other models in the meantime.
        """
        stored = self.fingerprint()
        if stored != fingerprint:
            if stored is not None:
                require_equal(stored, fingerprint)
            if not self._is_read_only():
                self._write_fingerprint(fingerprint)

    def _open_here(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """Open the points in this process, together with its other handles."""
        from docrag.store.local.process import COMMAND
        from docrag.store.local.shared import open_shared

        stored = self.fingerprint()
        if stored is not None:  # before the points, whose error would be about vectors and not about models
            require_equal(stored, fingerprint)
        try:
            store = open_shared(self.folder / POINTS, layout)
        except IndexInUse as error:
            end = "docrag stop" if COMMAND in error.holder else error.hint
            hint = f"{end}; or open it without in_process everywhere, so that processes share it"
            raise IndexInUse(error.message, hint, error.holder) from error
        try:
            self._require_settled()
            self.confirm(fingerprint)  # read again: from here on nobody else can change it
        except BaseException:
            store.close()
            raise
        return store

    def _require_settled(self) -> None:
        """Refuse points that may not belong to the fingerprint yet.

        Raises:
            IndexInUse: A migration is replacing the index, or was killed while it did.
        """
        if self._staging.decision() is not None:
            raise IndexInUse(
                f"a migration is replacing the index in {self.folder}",
                "close it and open it again in a moment, which finishes the migration if it was interrupted",
            )

    def _open_read_only(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """Open the points without a lock, which could not be taken in a folder that cannot be written.

        Raises:
            IndexInUse: Somebody who can write the folder is replacing the index.
        """
        from docrag.store.local.read_only import open_read_only

        store = open_read_only(self.folder / POINTS, layout)
        try:
            self._require_settled()
            self.confirm(fingerprint)
        except BaseException:
            store.close()
            raise
        return store

    def _is_read_only(self) -> bool:
        """Whether the index lies where this user cannot write, so that it can be searched but not changed."""
        points = self.folder / POINTS
        writable = is_writable(self.folder) and (not points.exists() or is_writable(points))
        return self.folder.exists() and not writable

    def close(self) -> None:
        """Do nothing: a directory holds no connection."""

    def detached(self) -> None:
        """None: a directory cannot lose its name."""

    def not_found(self) -> IndexNotFound:
        """The error that says that there is no index here."""
        return no_index(self.uri)

    def staging(self) -> Location:
        """A directory inside this one, which nobody else uses."""
        return DirectoryLocation(self._staging.folder, in_process=True, name=self.name)

    def switch(self, *, keep_old: bool) -> str:
        """Replace the index; the old one can be kept as a numbered directory beside this one.

        Raises:
            IndexInUse: A process holds the directory without sharing it (`in_process`).
            StoreError: The old index cannot be moved to the directory beside this one.
        """
        old_folder = self._next_sibling() if keep_old else None
        if old_folder:
            self._staging.require_room(old_folder)
        with self._lock():
            self._staging.decide({"kept": str(old_folder or "")})
            self._finish_switch()
        return str(old_folder or "")

    def recover(self) -> None:
        """Finish an interrupted switch. It takes a moment, in which the index cannot be searched."""
        if self._staging.decision() is None:
            return
        if self._is_read_only():
            raise StoreError(
                f"a migration of {self.folder} was interrupted while it switched to the new index, and the "
                "folder cannot be written",
                "open the index once as a user who can write it, which finishes the migration",
            )
        logger.info("a migration of %s was interrupted while it switched: finishing it", self.folder)
        with self._lock():
            self._finish_switch()

    def abandon(self) -> None:
        """Delete the directory of the staged index."""
        self._staging.remove()

    def _is_empty(self) -> bool:
        """Whether the directory holds nothing or is missing; hidden files, such as locks, do not count."""
        if not self.folder.exists():
            return True
        return self.folder.is_dir() and all(path.name.startswith(".") for path in self.folder.iterdir())

    def _write_fingerprint(self, fingerprint: Fingerprint) -> None:
        write_atomically(self.folder / FINGERPRINT, fingerprint.to_json())

    def _next_sibling(self) -> Path:
        """The first free name of the form INDEX--1, INDEX--2, ..."""
        folder = self.folder.resolve()
        siblings = (folder.with_name(f"{folder.name}--{number}") for number in count(1))
        return next(sibling for sibling in siblings if not sibling.exists())

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Keep everybody from the points: the engine's process lets go of them, and no other can open them.

        Handles that call meanwhile start the process again, which waits for this lock.
        """
        with self._lock_patiently():
            yield

    def _lock_patiently(self) -> FolderLock:
        deadline = time.monotonic() + LOCK_PATIENCE
        while True:
            if not self._in_process:
                self.process().stop()
            try:
                return FolderLock(self.folder / POINTS)
            except IndexInUse as error:
                # The process may still be flushing, or was started again by somebody who was quicker.
                may_end = not self._in_process and error.holder != "this process"
                if not may_end or time.monotonic() > deadline:
                    raise
            time.sleep(_POLL_SECONDS)

    def _finish_switch(self) -> None:
        """Take the remaining steps.

        Another process may have taken them while this one waited for the lock.
        """
        decision = self._staging.decision()
        if decision is not None:
            self._staging.move_in()
            self._staging.finish(Path(decision["kept"]) if decision["kept"] else None)
