"""What was ingested, and from where. This makes an ingest a sync, and lets it be killed at any moment.

The points of a document and the manifest cannot change in one transaction. A document therefore passes
through states, and its state shows what a killed process left unfinished:

    writing   points are being written; they can be found already, but the document does not count yet
    done      every page that could be read is in the store
    relabel   done, but the points do not name its present sources yet
    stale     no file has this content any more; its points are to be removed

Any number of processes may have a manifest open and read it; `wait_for_turn` lets one at a time write.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from docrag.common.files import READ_ONLY_HINT, FolderLock, LockHolder, lock_holder
from docrag.common.forks import ForkAware, leave_to_parent
from docrag.errors import IndexInUse, StorageFull, StoreError
from docrag.ingest.manifest_file import can_write, open_database, read_copy

State = Literal["writing", "done", "relabel", "stale"]

_FORK_SECONDS = 5.0
"""How long a fork waits for another thread that is in the middle of a transaction."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file as it was when its document was last ingested."""

    path: str
    """Absolute."""
    source: str
    """As ingested."""
    size: int
    mtime_ns: int
    document_id: str


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A document and its state."""

    id: str
    state: State
    source: str
    """The source that its vectors were made with: the words of the file name are part of them."""
    pages: int
    lost: str
    """Which pages could not be read, and why; empty if all were."""


class Manifest(ForkAware):
    """The table of files and documents, in one SQLite file beside the points.

    Threads share it under a lock. A thread that only reads may see another thread's change half done.

    The file is opened when it is first used, and again after a fork. Where it cannot be written, a copy of it
    is read.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path.absolute()  # it is opened later, perhaps from another working directory
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._is_copy = False
        self._closed = False
        self._forking_thread: int | None = None

    def file(self, path: str) -> FileRow | None:
        """The file at an absolute path, if it was ingested."""
        rows = self._read("SELECT * FROM files WHERE path = ?", path)
        return FileRow(*rows[0]) if rows else None

    def files(self, document_id: str | None = None) -> list[FileRow]:
        """All files, or those of one document, by path."""
        rows = self._read(
            "SELECT * FROM files WHERE ? IS NULL OR document_id = ? ORDER BY path", document_id, document_id
        )
        return [FileRow(*row) for row in rows]

    def sources(self, document_id: str) -> tuple[str, ...]:
        """The paths, as ingested, of the files with this content."""
        return tuple(dict.fromkeys(row.source for row in self.files(document_id)))

    def document(self, document_id: str) -> DocumentRow | None:
        """One document."""
        rows = self._read("SELECT * FROM documents WHERE id = ?", document_id)
        return DocumentRow(*rows[0]) if rows else None

    def documents(self, state: State | None = None) -> list[DocumentRow]:
        """All documents, or those in one state."""
        rows = self._read(
            "SELECT * FROM documents WHERE ? IS NULL OR state = ? ORDER BY source", state, state
        )
        return [DocumentRow(*row) for row in rows]

    def begin(self, document_id: str, source: str) -> None:
        """Note that points of a document are about to be written."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO documents VALUES (?, 'writing', ?, 0, '') "
                "ON CONFLICT (id) DO UPDATE SET state = 'writing', source = excluded.source",
                (document_id, source),
            )

    def finish(
        self, document_id: str, pages: int, lost: str, files: Sequence[FileRow], named: Sequence[str] = ()
    ) -> None:
        """All points of a document are written: it now replaces what its files held before, in one step.

        Args:
            document_id: The document.
            pages: How many pages of it are in the store.
            lost: Which pages could not be read, and why.
            files: The files with this content that were read.
            named: The sources that every one of its points names. The points are written again only if these
                are not all of its sources. Empty if some points may name others.
        """
        with self._transaction():
            self._assign(files)
            state: State = "done" if tuple(named) == self.sources(document_id) else "relabel"
            self._db.execute(
                "UPDATE documents SET state = ?, pages = ?, lost = ? WHERE id = ?",
                (state, pages, lost, document_id),
            )

    def adopt(self, document_id: str, pages: int, files: Sequence[FileRow]) -> None:
        """Record a document of which every page is stored, and its files."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO documents VALUES (?, 'relabel', ?, ?, '')", (document_id, files[0].source, pages)
            )
            self._assign(files)

    def assign(self, files: Sequence[FileRow]) -> None:
        """Record files whose documents are stored already."""
        with self._transaction():
            self._assign(files)

    def forget(self, paths: Sequence[str]) -> None:
        """Forget files. Their documents lose a source, and become stale once they have none."""
        with self._transaction():
            for path in paths:
                row = self.file(path)
                if row is not None:
                    self._db.execute("DELETE FROM files WHERE path = ?", (path,))
                    self._settle(row.document_id)

    def touch(self, file: FileRow) -> None:
        """Record that the size or time of a file changed and its content did not."""
        with self._transaction():
            self._db.execute(
                "UPDATE files SET size = ?, mtime_ns = ? WHERE path = ?",
                (file.size, file.mtime_ns, file.path),
            )

    def relabelled(self, document_id: str) -> None:
        """Record that the points of a document name its present sources."""
        with self._transaction():
            self._db.execute("UPDATE documents SET state = 'done' WHERE id = ?", (document_id,))

    def dropped(self, document_id: str) -> None:
        """Record that the points of a document are removed."""
        with self._transaction():
            self._db.execute("DELETE FROM documents WHERE id = ?", (document_id,))

    def exclusive(self) -> FolderLock:
        """Lock the index against changes by others; searches are not affected.

        Raises:
            IndexInUse: Another process, or this one, is changing the index.
            StoreError: The index is on a read-only file system.
        """
        try:
            return FolderLock(self._path)
        except IndexInUse as error:
            hint = "wait until it has ended, then run this again; searches continue meanwhile"
            raise self._is_being_written(error.holder, hint) from error

    def wait_for_turn(
        self, should_stop: Callable[[], bool] | None = None, on_wait: Callable[[str], None] | None = None
    ) -> FolderLock | None:
        """Lock the index against changes by others as soon as nobody else is changing it.

        Args:
            should_stop: Asked while waiting; once it returns true, waiting ends. None waits for any time.
            on_wait: Called with the name of who is changing the index, if this has to wait.

        Returns:
            The lock, or None if waiting was ended by `should_stop`.

        Raises:
            IndexInUse: This thread is changing the index already, and would wait for itself.
            StoreError: The index is on a read-only file system.
        """
        try:
            return FolderLock.wait_for(self._path, should_stop=should_stop, on_wait=on_wait)
        except IndexInUse as error:
            hint = "this would wait for itself: use the Index that is writing, or write after it"
            raise self._is_being_written("this thread", hint) from error

    def writer(self) -> LockHolder | None:
        """Who is changing the index at present; None if nobody is."""
        return lock_holder(self._path)

    def replace_by(self, other: Path) -> None:
        """Take over the whole content of another manifest in one transaction.

        Renaming the files would not do: a process that has this one open would delete the log of the new one.
        """
        with self._errors():
            self._db.execute("ATTACH ? AS other", (str(other),))
        try:
            with self._transaction():
                for table in ("files", "documents"):
                    self._db.execute(f"DELETE FROM main.{table}")
                    self._db.execute(f"INSERT INTO main.{table} SELECT * FROM other.{table}")
        finally:
            self._db.execute("DETACH other")

    def copy_to(self, path: Path) -> None:
        """Copy the whole content into another file."""
        with self._errors(), closing(sqlite3.connect(path)) as copy:
            self._db.backup(copy)

    def close(self) -> None:
        """Close the file, once no thread is using it."""
        with self._lock:
            self._closed = True
            self._disconnect()

    def before_fork(self) -> None:
        """Close the file: what SQLite notes of its locks in this process would be wrong in the child."""
        if self._lock.acquire(timeout=_FORK_SECONDS):
            self._forking_thread = threading.get_ident()
            if self._connection is not None and not self._connection.in_transaction:
                self._disconnect()

    def after_fork_in_parent(self) -> None:
        """Let other threads go on."""
        if self._forking_thread == threading.get_ident():
            self._forking_thread = None
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Forget what belongs to the parent: its threads, and a file that could not be closed in time."""
        if self._connection is not None:
            leave_to_parent(self._connection)  # to close it here may damage the file under the parent
            self._connection = None
        self._lock = threading.RLock()
        self._forking_thread = None

    def _is_being_written(self, holder: str, hint: str) -> IndexInUse:
        return IndexInUse(f"{self._path.parent} is being written by {holder}", hint, holder)

    @property
    def _db(self) -> sqlite3.Connection:
        """The open file; the lock is held."""
        if self._closed:
            raise StoreError(f"{self._path} is closed", "open the index again")
        if self._connection is None:
            self._is_copy = not can_write(self._path)
            self._connection = read_copy(self._path) if self._is_copy else open_database(self._path)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read(self, query: str, *values: str | None) -> list[tuple[Any, ...]]:
        with self._errors():
            return self._db.execute(query, values).fetchall()

    def _assign(self, files: Sequence[FileRow]) -> None:
        for new in files:
            old = self.file(new.path)
            self._db.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)",
                (new.path, new.source, new.size, new.mtime_ns, new.document_id),
            )
            self._settle(new.document_id)
            if old is not None and old.document_id != new.document_id:
                self._settle(old.document_id)

    def _settle(self, document_id: str) -> None:
        """Set the state that follows from a change of a document's files."""
        state = "relabel" if self.files(document_id) else "stale"
        self._db.execute(
            "UPDATE documents SET state = ? WHERE id = ? AND state != 'writing'", (state, document_id)
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._errors():
            db = self._db
            if self._is_copy:
                raise StoreError(f"cannot write {self._path}", READ_ONLY_HINT)
            db.execute("BEGIN IMMEDIATE")
            try:
                yield
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # on a full disk SQLite may have rolled back itself
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except sqlite3.DatabaseError as error:
            if "full" in str(error):
                raise StorageFull(
                    f"no space left for {self._path}", "free some space and run again"
                ) from error
            raise StoreError(
                f"{self._path}: {error}", "is the disk writable, and the file docrag's?"
            ) from error
