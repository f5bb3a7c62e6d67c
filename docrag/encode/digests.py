"""The sha256 of weights, which takes a second for each gigabyte: remembered while a file stays as it is."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path

LARGE = 2**26
"""Bytes; smaller files take less than a look into the memory would save."""
TABLE = "CREATE TABLE IF NOT EXISTS digests (path PRIMARY KEY, size, modified, inode, sha256)"


def sha256_of(file: Path) -> str:
    """The sha256 of a file's content, hexadecimal.

    That of a large file is kept in the user's cache, and holds while size, time of change and inode do.

    Raises:
        OSError: The file cannot be read.
    """
    if file.stat().st_size < LARGE:
        return _compute(file)
    stat = file.stat()
    key = (str(file.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    try:
        memory = _open()
    except (OSError, sqlite3.Error):  # a home that cannot be written: the digest is only slower then
        return _compute(file)
    with closing(memory):
        match = "path = ? AND size = ? AND modified = ? AND inode = ?"
        row = memory.execute(f"SELECT sha256 FROM digests WHERE {match}", key).fetchone()
        if row:
            return str(row[0])
        digest = _compute(file)
        with memory:
            memory.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?)", (*key, digest))
        return digest


def _compute(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _open() -> sqlite3.Connection:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "docrag"
    folder.mkdir(parents=True, exist_ok=True)
    memory = sqlite3.connect(folder / "digests.sqlite", timeout=30)
    memory.execute(TABLE)
    return memory
