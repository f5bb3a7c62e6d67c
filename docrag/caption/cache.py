"""A cache of the captions that a vision model wrote, so that each page is requested and paid for once."""

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
"""Name of the cache in the directory of an index."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS captions (
    page TEXT NOT NULL, recipe TEXT NOT NULL, caption TEXT NOT NULL, PRIMARY KEY (page, recipe)
) WITHOUT ROWID;
"""


class CaptionCache:
    """Captions in one SQLite file, by page and by request settings; threads may share it.

    Args:
        path: The file; created if it does not exist.
        recipe: Digest of everything but the page on which an answer depends; used by `get` and `put`.

    Raises:
        StoreError: The file cannot be opened, or is not a caption cache.
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
        """Return the caption of a page, or None if it is not cached."""
        query = "SELECT caption FROM captions WHERE page = ? AND recipe = ?"
        with self._lock, self._errors():
            row = self._db.execute(query, (page_id, self._recipe)).fetchone()
        return None if row is None else str(row[0])

    def put(self, page_id: str, caption: str) -> None:
        """Store the caption of a page; it is on disk when this returns, so a killed process loses nothing.

        Raises:
            StorageFull: The disk is full.
            StoreError: The file cannot be written.
        """
        with self._lock, self._errors():
            self._db.execute(
                "INSERT OR REPLACE INTO captions VALUES (?, ?, ?)", (page_id, self._recipe, caption)
            )

    def __len__(self) -> int:
        """Number of captions, of every recipe."""
        with self._lock, self._errors():
            return int(self._db.execute("SELECT COUNT(*) FROM captions").fetchone()[0])

    def lines(self) -> Iterator[bytes]:
        """Yield all captions of every recipe as lines of JSON; equal caches yield equal lines."""
        with self._lock, self._errors():
            for row in self._db.execute("SELECT page, recipe, caption FROM captions ORDER BY page, recipe"):
                record = dict(zip(("page", "recipe", "caption"), row, strict=True))
                yield json.dumps(record, ensure_ascii=False).encode() + b"\n"

    def merge(self, lines: Iterable[bytes]) -> int:
        """Add captions that another cache's `lines` yielded, all or none; captions that exist already stay.

        Returns:
            The number of captions that were added.

        Raises:
            StorageFull: The disk is full.
            StoreError: A line is not a caption, or the file cannot be written.
        """
        with self._lock, self._errors():
            before = self._db.total_changes
            with self._db:  # one transaction, which an error rolls back
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany("INSERT OR IGNORE INTO captions VALUES (?, ?, ?)", map(_row, lines))
            return self._db.total_changes - before

    def close(self) -> None:
        """Close the file, which is otherwise closed when this object is garbage-collected."""
        self._close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if "full" in str(error):
                raise StorageFull(
                    f"no space left for {self._path}", "free some space and run the command again"
                ) from error
            raise StoreError(
                f"{self._path}: {error}",
                "check that it can be written; if it is damaged, delete it, and captions are requested again",
            ) from error


def _row(line: bytes) -> tuple[str, str, str]:
    """The columns of a caption from a line that `CaptionCache.lines` wrote."""
    try:
        record = json.loads(line)
        page, recipe, caption = record["page"], record["recipe"], record["caption"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"not an exported caption: {line[:80]!r}", "export the index again") from error
    return str(page), str(recipe), str(caption)
