"""The SQLite file of a manifest: opened, created, or copied where it cannot be written."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from docrag.common.files import is_writable
from docrag.errors import StoreError

logger = logging.getLogger(__name__)

BUSY_SECONDS = 30.0
"""How long SQLite waits for another process that is in the middle of a transaction."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    id TEXT PRIMARY KEY, state TEXT NOT NULL, source TEXT NOT NULL,
    pages INTEGER NOT NULL, lost TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, source TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    document_id TEXT NOT NULL REFERENCES documents (id));
CREATE INDEX IF NOT EXISTS files_of_document ON files (document_id);
"""


def can_write(path: Path) -> bool:
    """Whether a manifest can be written: SQLite needs to change its folder as well.

    True as well if the folder does not exist, which is an error of its own.
    """
    folder = path.parent
    if not folder.is_dir():
        return True
    return is_writable(folder) and (is_writable(path) or not path.exists())


def open_database(path: Path) -> sqlite3.Connection:
    """Open a manifest, or create one. To open one that exists does not disturb processes that are writing.

    Raises:
        sqlite3.DatabaseError: The file cannot be opened or created, or is not a database.
    """
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA synchronous = FULL")
        if not _has_tables(db):
            _create_tables(db)
    except BaseException:
        db.close()
        raise
    return db


def read_copy(path: Path) -> sqlite3.Connection:
    """Read a manifest that cannot be written into memory; one that does not exist is empty.

    SQLite could open the file itself only without regard to the log beside it, in which a process that was
    killed has left what it wrote last.

    Raises:
        StoreError: The file cannot be read.
    """
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        if path.exists():
            with TemporaryDirectory(prefix="docrag-") as folder:
                copy = _copy_with_log(path, Path(folder))
                with closing(sqlite3.connect(copy, isolation_level=None)) as source:
                    source.execute("PRAGMA journal_mode = DELETE")  # a database in memory has no log
                    source.backup(memory)
        if not _has_tables(memory):
            memory.executescript(SCHEMA)
    except BaseException:
        memory.close()
        raise
    logger.info("%s cannot be written, so a copy of it is read", path)
    return memory


def _has_tables(db: sqlite3.Connection) -> bool:
    names = "'documents', 'files', 'files_of_document'"
    (found,) = db.execute(f"SELECT COUNT(*) FROM sqlite_master WHERE name IN ({names})").fetchone()
    return bool(found == 3)


def _create_tables(db: sqlite3.Connection) -> None:
    """Create the tables; several processes may do so at once."""
    # SQLite itself does not wait for the others when it changes the kind of journal.
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(SCHEMA)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
        time.sleep(0.02)


def _copy_with_log(path: Path, folder: Path) -> Path:
    """Copy a manifest with the log beside it; whoever can write them may be doing so meanwhile.

    Raises:
        StoreError: The files cannot be read.
    """
    files = [path, path.with_name(f"{path.name}-wal")]
    for _ in range(5):
        before = _versions(files)
        try:
            for file in files:
                if file.exists():
                    shutil.copyfile(file, folder / file.name)
                else:
                    (folder / file.name).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot read {file}: {error.strerror}") from error
        if _versions(files) == before:
            break
    return folder / path.name


def _versions(files: Sequence[Path]) -> list[tuple[int, int] | None]:
    stats = [file.stat() if file.exists() else None for file in files]
    return [stat and (stat.st_size, stat.st_mtime_ns) for stat in stats]
