"""The sha256 of weights. It takes a second per gigabyte, so it is cached while a file stays the same."""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

LARGE = 2**26
"""Bytes; hashing a smaller file takes less time than looking it up in the cache would save."""
TABLE = "CREATE TABLE IF NOT EXISTS digests (path PRIMARY KEY, size, modified, inode, sha256)"
UNUSABLE = (OSError, sqlite3.Error)
"""What a cache raises that is read-only, full, damaged or locked; the digest is then only slower."""

Key = tuple[str, int, int, int]
"""Path, size, modification time and inode of a file."""

logger = logging.getLogger(__name__)


def sha256_of(file: Path) -> str:
    """The sha256 of a file's content, hexadecimal.

    The digest of a large file is kept in the user's cache, and is valid while the file's size, modification
    time and inode stay the same.

    Raises:
        OSError: The file cannot be read.
    """
    stat = file.stat()
    if stat.st_size < LARGE:
        return _compute(file)
    key = (str(file.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    cached = _look_up(key)
    if cached:
        logger.debug("digest of %s: from the cache", file)
        return cached
    digest = _compute(file)
    _remember(key, digest)
    logger.debug("digest of %s: computed from %d bytes", file, stat.st_size)
    return digest


def _look_up(key: Key) -> str | None:
    try:
        with closing(_open_cache()) as cache:
            condition = "path = ? AND size = ? AND modified = ? AND inode = ?"
            row = cache.execute(f"SELECT sha256 FROM digests WHERE {condition}", key).fetchone()
    except UNUSABLE:
        return None
    return str(row[0]) if row else None


def _remember(key: Key, digest: str) -> None:
    with suppress(*UNUSABLE), closing(_open_cache()) as cache, cache:
        cache.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?)", (*key, digest))


def _compute(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _open_cache() -> sqlite3.Connection:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "docrag"
    folder.mkdir(parents=True, exist_ok=True)
    cache = sqlite3.connect(folder / "digests.sqlite", timeout=5)
    cache.execute(TABLE)
    return cache
