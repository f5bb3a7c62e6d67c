"""What a vision model said of a page, kept so that it is asked, and paid, once."""

from __future__ import annotations

import json
import sqlite3
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from docrag.errors import StorageFull, StoreError

FILE = "captions.sqlite"
"""Stands in the directory of an index."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS captions (
    page TEXT NOT NULL, recipe TEXT NOT NULL, caption TEXT NOT NULL, PRIMARY KEY (page, recipe)
) WITHOUT ROWID;
"""


class CaptionCache:
    """Captions in one SQLite file, by page and by how they were asked for; threads may share it.

    Args:
        path: The file; made where there is none.
        recipe: Digest of all that an answer depends on besides the page; for `get` and `put`.

    Raises:
        StoreError: The file cannot be opened, or is no such cache.
    """

    def __init__(self, path: Path, recipe: str = "") -> None:
        self._path = path
        self._recipe = recipe
        self._lock = Lock()
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._close = weakref.finalize(self, self._db.close)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.executescript(SCHEMA)

    def get(self, page_id: str) -> str | None:
        """The caption of a page, if it is known."""
        query = "SELECT caption FROM captions WHERE page = ? AND recipe = ?"
        with self._lock, self._errors():
            row = self._db.execute(query, (page_id, self._recipe)).fetchone()
        return None if row is None else str(row[0])

    def put(self, page_id: str, caption: str) -> None:
        """Keep the caption of a page; it is on the disk when this returns, so that a kill loses nothing.

        Raises:
            StorageFull: The disk is full.
            StoreError: The file cannot be written.
        """
        with self._lock, self._errors():
            self._db.execute(
                "INSERT OR REPLACE INTO captions VALUES (?, ?, ?)", (page_id, self._recipe, caption)
            )

    def __len__(self) -> int:
        """How many captions are kept, of every recipe."""
        with self._lock, self._errors():
            return int(self._db.execute("SELECT COUNT(*) FROM captions").fetchone()[0])

    def lines(self) -> Iterator[bytes]:
        """All captions, of every recipe, as lines of JSON; the same captions give the same lines."""
        with self._lock, self._errors():
            for row in self._db.execute("SELECT page, recipe, caption FROM captions ORDER BY page, recipe"):
                said = dict(zip(("page", "recipe", "caption"), row, strict=True))
                yield json.dumps(said, ensure_ascii=False).encode() + b"\n"

    def merge(self, lines: Iterable[bytes]) -> int:
        """Take in captions that `lines` gave elsewhere, all or none; those that are here already stay.

        Returns:
            How many were not here.

        Raises:
            StorageFull: The disk is full.
            StoreError: A line is something else, or the file cannot be written.
        """
        with self._lock, self._errors():
            before = self._db.total_changes
            with self._db:  # one transaction, undone by an error
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany("INSERT OR IGNORE INTO captions VALUES (?, ?, ?)", map(_row, lines))
            return self._db.total_changes - before

    def close(self) -> None:
        """Close the file, which otherwise stays open as long as there is a cache."""
        self._close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if "full" in str(error):
                raise StorageFull(
                    f"no space left for {self._path}", "free some space and run again"
                ) from error
            raise StoreError(
                f"{self._path}: {error}",
                "is the disk writable, and the file docrag's? Captions can be asked again",
            ) from error


def _row(line: bytes) -> tuple[str, str, str]:
    try:
        said = json.loads(line)
        page, recipe, caption = said["page"], said["recipe"], said["caption"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"no caption of an export: {line[:80]!r}", "export again") from error
    return str(page), str(recipe), str(caption)
