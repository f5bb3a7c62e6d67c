"""Writing files so that readers never see half of one."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes | str, *, sync: bool = False) -> None:
    """Write a file whole or not at all: a reader, or a process after a kill, sees the old content or the new.

    The content goes to `.NAME.tmp` in the same folder first, so two processes must not write one file at a
    time. A killed process leaves that file behind; the next write replaces it.

    Args:
        path: The file; its folder must exist.
        content: Text is written as UTF-8.
        sync: Whether to return only when the content would survive a power cut.

    Raises:
        OSError: The file cannot be written; the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
