"""Writing small files so that a reader sees the old content or the new one, never a part of it."""

from __future__ import annotations

from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file in one step.

    The content goes into a temporary file in the same directory (the name with a dot in front), which is then
    renamed. If the process is killed in between, the file keeps its old content.

    Args:
        path: The file; its directory must exist.
        content: The whole new content; text is written as UTF-8.

    Raises:
        OSError: The directory cannot be written, or the disk is full.
    """
    draft = path.with_name(f".{path.name}")
    draft.write_bytes(content.encode() if isinstance(content, str) else content)
    draft.replace(path)
