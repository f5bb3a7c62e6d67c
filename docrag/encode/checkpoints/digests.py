"""The sha256 of weights, which takes a second for each gigabyte: remembered while a file stays as it is."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

LARGE = 2**26
"""Bytes; smaller files take less than a look into the memory would save."""
TABLE = "CREATE TABLE IF NOT EXISTS digests (path PRIMARY KEY, size, modified, inode, sha256)"
UNUSABLE = (OSError, sqlite3.Error)
"""What a memory raises that is read-only, full, damaged or locked: the digest is only slower then."""

Key = tuple[str, int, int, int]
"""Path, size, time of change and inode of a file."""


def sha256_of(file: Path) -> str:
    """The sha256 of a file's content, hexadecimal.

    That of a large file is kept in the user's cache, and holds while size, time of change and inode do.

    Raises:
        OSError: The file cannot be read.
    """
    stat = file.stat()
    if stat.st_size < LARGE:
        return _compute(file)
    key = (str(file.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    known = _recall(key)
    if known:
        return known
    digest = _compute(file)
    _remember(key, digest)
    return digest


def _recall(key: Key) -> str | None:
    try:
        with closing(_open()) as memory:
            match = "path = ? AND size = ? AND modified = ? AND inode = ?"
            row = memory.execute(f"SELECT sha256 FROM digests WHERE {match}", key).fetchone()
    except UNUSABLE:
        return None
    return str(row[0]) if row else None


def _remember(key: Key, digest: str) -> None:
    with suppress(*UNUSABLE), closing(_open()) as memory, memory:
        memory.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?)", (*key, digest))


def _compute(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _open() -> sqlite3.Connection:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "docrag"
    folder.mkdir(parents=True, exist_ok=True)
    memory = sqlite3.connect(folder / "digests.sqlite", timeout=5)
    memory.execute(TABLE)
    return memory
