"""Run `docrag ingest` in a process of its own, kill it, and compare what it left with what it should."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import psutil

from docrag import Index
from docrag.types import MODES

TOLERANCE = 2e-2
"""By how much a score may differ: bf16 rounds otherwise in a batch of other lengths."""
PATIENCE = 5.0
"""Seconds in which the children of a killed process must end."""

Ranking = tuple[tuple[str, float], ...]
"""Page ids and scores, best first."""


@dataclass(frozen=True)
class Run:
    """SyncOptions an ingest ended."""

    seconds: float
    killed: bool
    left_over: tuple[str, ...]
    """Processes of it that went on."""


@dataclass(frozen=True)
class Snapshot:
    """What an index holds and answers."""

    pages: Mapping[str, str]
    """Digest of the payload by page id."""
    count: int
    images: Mapping[str, str]
    """Digest by path, of every file that lies there."""
    files: tuple[tuple[str, str], ...]
    documents: tuple[tuple[object, ...], ...]
    answers: Mapping[str, Ranking]
    """By mode and query."""


def ingest_until_killed(folder: Path, index: Path, seconds: float | None) -> Run:
    """Ingest in a session of its own that is killed with SIGKILL after some seconds, or runs to its end."""
    command = [sys.executable, "-m", "docrag", "ingest", str(folder), "--index", str(index), "--json"]
    started = time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            _, complaint = process.communicate(timeout=seconds)
            assert process.returncode == 0, complaint
        except subprocess.TimeoutExpired:
            process.kill()
    took = time.monotonic() - started
    return Run(took, process.returncode != 0, _left_over(process.pid))


def snapshot(index: Path, queries: Sequence[str]) -> Snapshot:
    """What an index holds and answers."""
    with Index.open(index, create=False) as opened:
        storage = opened._storage
        answers = {
            f"{mode}: {query}": tuple(
                (hit.page_id, hit.score) for hit in opened.search(query, k=10, mode=mode)
            )
            for mode in MODES
            for query in queries
        }
        records = list(storage.store.scroll())
        payloads = {record.id: json.dumps(record.payload, sort_keys=True).encode() for record in records}
        images = {path: path.read_bytes() for path in storage.images.root.rglob("*") if path.is_file()}
        return Snapshot(
            {id: _digest(payload) for id, payload in payloads.items()},
            storage.store.count(),
            {str(path.relative_to(storage.images.root)): _digest(image) for path, image in images.items()},
            tuple((row.path, row.document_id) for row in storage.manifest.files()),
            tuple(
                (row.source, row.id, row.state, row.pages, row.lost) for row in storage.manifest.documents()
            ),
            answers,
        )


def differences(expected: Snapshot, found: Snapshot) -> list[str]:
    """In what two indexes differ, a line each; empty where they are equal."""
    lines = []
    for field in fields(Snapshot):
        left, right = getattr(expected, field.name), getattr(found, field.name)
        if field.name == "answers":
            lines += [f"{name}: {line}" for name in left for line in unlike(left[name], right[name])]
        elif isinstance(left, Mapping):
            keys = sorted(left.keys() | right.keys())
            changed = [key for key in keys if left.get(key) != right.get(key)]
            lines += [f"{field.name}: {key}: {left.get(key)} -> {right.get(key)}" for key in changed]
        elif left != right:
            lines.append(f"{field.name}: {left} -> {right}")
    return lines


def deviation(expected: Snapshot, found: Snapshot) -> float:
    """The largest difference between two scores of a page, all queries taken together."""
    pairs = [(dict(expected.answers[name]), dict(found.answers[name])) for name in expected.answers]
    return max((abs(a[id] - b[id]) for a, b in pairs for id in a.keys() & b.keys()), default=0.0)


def unlike(expected: Ranking, found: Ranking) -> list[str]:
    """Places whose page or score differs by more than the tolerance; pages as close as that may swap."""
    if len(expected) != len(found):
        return [f"{len(expected)} hits -> {len(found)}"]
    own = dict(expected)
    lines = []
    for rank, ((page, score), (other, other_score)) in enumerate(zip(expected, found, strict=True), start=1):
        # A page from below the last place counts with the score it came up with.
        scores = (other_score, own.get(other, other_score))
        if any(abs(score - one) > TOLERANCE for one in scores):
            lines.append(f"{rank}. {page} {score:.4f} -> {other} {other_score:.4f}")
    return lines


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _left_over(session: int) -> tuple[str, ...]:
    """Processes of a session that are still there when patience ends."""
    deadline = time.monotonic() + PATIENCE
    while (alive := _alive(session)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return alive


def _alive(session: int) -> tuple[str, ...]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        try:
            if os.getsid(process.pid) == session and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {' '.join(process.info['cmdline'] or [])}")
        except (ProcessLookupError, PermissionError):
            continue
    return tuple(found)
