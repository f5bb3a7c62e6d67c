"""Run `docrag ingest` in a process of its own, kill it, and look at what it left."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from docrag import Index


@dataclass(frozen=True)
class Snapshot:
    """What an index holds and answers."""

    page_ids: frozenset[str]
    images: frozenset[str]
    files: tuple[tuple[str, str], ...]
    answers: tuple[tuple[tuple[str, float], ...], ...]


def ingest_until_killed(folder: Path, index: Path, seconds: float | None) -> float:
    """Ingest in a process that is killed with SIGKILL after some seconds, or runs to its end.

    Returns:
        How long it ran.
    """
    command = [sys.executable, "-m", "docrag", "ingest", str(folder), "--index", str(index), "--json"]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _, complaint = process.communicate(timeout=seconds)
        assert process.returncode == 0, complaint
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    return time.monotonic() - started


def snapshot(index: Path, queries: Sequence[str]) -> Snapshot:
    """What an index holds and answers."""
    with Index.open(index, create=False) as opened:
        shelf = opened._shelf
        records = list(shelf.store.scroll(payload=["metadata"]))
        images = {
            str(
                shelf.images.path(
                    record.payload["metadata"]["document_id"], record.payload["metadata"]["page"] + 1
                )
            )
            for record in records
        }
        present = {path for path in images if Path(path).is_file()}
        answers = tuple(
            tuple(
                (hit.page_id, round(hit.scores["text"], 3)) for hit in opened.search(query, k=5, mode="text")
            )
            for query in queries
        )
        assert present == images
        return Snapshot(
            frozenset(record.id for record in records),
            frozenset(str(Path(path).relative_to(shelf.images.root)) for path in present),
            tuple((row.path, row.document_id) for row in shelf.manifest.files()),
            answers,
        )
