"""Write ready vectors into the embedded engine: pages a second against the straight way, in one run.

python -m tests.benchmarks.edge_ingest [--pages 400] [--json]

The straight way gives the engine lists made by `tolist`, in the same batches, without checks and without a
look at the disk; docrag's store does all that, in this process or through the engine's own. All flush every
hundred pages. They take turns. CPU time is that of this process alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge

from docrag.location.directory import DirectoryLocation
from docrag.store.base import Store
from docrag.store.layout import Fingerprint, Layout
from docrag.store.local import engine
from docrag.store.local.store import BATCH, EdgeStore
from docrag.types import PageRecord, SparseVector
from tests.benchmarks.synthetic import DIM, World

Writer = Callable[[Sequence[PageRecord]], None]
Way = Callable[[Path], AbstractContextManager[Writer]]

FLUSH = 100
LAYOUT = Layout.for_dims(late=DIM, image=None, text=DIM)
FINGERPRINT = Fingerprint({"layout": 1, "keep_patches": "all", "datatype": "float16"})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pages", type=int, default=400, help="in each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the indexes are made [a temporary one]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    records = [record for some in World().records(args.pages) for record in some]
    ways: dict[str, Way] = {"docrag": docrag, "process": through_process, "straight": straight}
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    before = os.getloadavg()[0]
    for _ in range(args.turns):
        for name, write in ways.items():
            turns[name].append(timed(write, records, args.folder))
    report: dict[str, Any] = {
        "cores": os.cpu_count(),
        "load": [round(before, 2), round(os.getloadavg()[0], 2)],
    }
    for name, times in turns.items():
        wall, cpu = (np.median(np.array(times), axis=0) / args.pages).tolist()
        report[name] = {"pages_per_second": round(1 / wall, 1), "cpu_ms_a_page": round(1000 * cpu, 2)}
    report["times_less_cpu"] = round(
        report["straight"]["cpu_ms_a_page"] / report["docrag"]["cpu_ms_a_page"], 2
    )
    report["process_to_docrag"] = round(
        report["process"]["pages_per_second"] / report["docrag"]["pages_per_second"], 3
    )
    print(
        json.dumps(report) if args.json else "\n".join(f"{name}: {value}" for name, value in report.items())
    )


def timed(way: Way, records: Sequence[PageRecord], folder: Path | None) -> tuple[float, float]:
    """Wall and CPU seconds of writing all records into a new index, flushed at the end."""
    place = Path(tempfile.mkdtemp(prefix="docrag-ingest-", dir=folder))
    try:
        with way(place / "shard") as write:
            wall, cpu = time.perf_counter(), time.process_time()
            write(records)
            return time.perf_counter() - wall, time.process_time() - cpu
    finally:
        shutil.rmtree(place)


@contextmanager
def docrag(path: Path) -> Iterator[Writer]:
    """As docrag does it in this process."""
    with EdgeStore.create(path, LAYOUT) as store:
        yield partial(write_all, store)


@contextmanager
def through_process(path: Path) -> Iterator[Writer]:
    """As docrag does it through the engine's own process."""
    location = DirectoryLocation(path)
    with closing(location.make(FINGERPRINT, LAYOUT)) as store:
        yield partial(write_all, store)
    location.process().stop()


def write_all(store: Store, records: Sequence[PageRecord]) -> None:
    """Write all records, and flush every hundred pages."""
    for start in range(0, len(records), FLUSH):
        store.upsert(records[start : start + FLUSH])
        store.flush()


@contextmanager
def straight(path: Path) -> Iterator[Writer]:
    """As the engine's documentation does it."""
    path.mkdir()
    shard = edge.EdgeShard.create(str(path), engine.config(LAYOUT))
    yield partial(write_straight, shard)
    shard.close()


def write_straight(shard: edge.EdgeShard, records: Sequence[PageRecord]) -> None:
    """Write all records in lists."""
    for start in range(0, len(records), BATCH):
        points = [point(record) for record in records[start : start + BATCH]]
        shard.update(edge.UpdateOperation.upsert_points(points))
        if start // FLUSH != (start + BATCH) // FLUSH:
            shard.flush()
    shard.flush()


def point(record: PageRecord) -> edge.Point:
    """A record in lists."""
    vectors = {
        name: edge.SparseVector(indices=list(vector.indices), values=list(vector.values))
        if isinstance(vector, SparseVector)
        else vector.tolist()
        for name, vector in record.vectors.items()
    }
    return edge.Point(id=record.id, vector=vectors, payload=dict(record.payload))


if __name__ == "__main__":
    main()
