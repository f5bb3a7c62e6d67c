"""Write ready vectors into the embedded engine: pages a second against the straight way, in one run.

python -m tests.benchmarks.edge_ingest [--pages 400] [--json]

The straight way gives the engine lists made by `tolist`, in the same batches, without checks and without a
look at the disk; docrag's store does all that. Both flush every hundred pages. They take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge

from docrag.store.layout import Layout
from docrag.store.local import engine
from docrag.store.local.store import BATCH, EdgeStore
from docrag.types import PageRecord, SparseVector
from tests.benchmarks.synthetic import DIM, World

FLUSH = 100
LAYOUT = Layout.for_dims(late=DIM, image=None, text=DIM)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pages", type=int, default=400, help="in each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the indexes are made [a temporary one]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    records = [record for some in World().records(args.pages) for record in some]
    ways: dict[str, Callable[[Path, Sequence[PageRecord]], None]] = {"docrag": docrag, "straight": straight}
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
    print(
        json.dumps(report) if args.json else "\n".join(f"{name}: {value}" for name, value in report.items())
    )


def timed(
    write: Callable[[Path, Sequence[PageRecord]], None], records: Sequence[PageRecord], folder: Path | None
) -> tuple[float, float]:
    """Wall and CPU seconds of writing all records into a new index, flushed at the end."""
    place = Path(tempfile.mkdtemp(prefix="docrag-ingest-", dir=folder))
    try:
        wall, cpu = time.perf_counter(), time.process_time()
        write(place / "shard", records)
        return time.perf_counter() - wall, time.process_time() - cpu
    finally:
        shutil.rmtree(place)


def docrag(path: Path, records: Sequence[PageRecord]) -> None:
    """As docrag does it."""
    with EdgeStore.create(path, LAYOUT) as store:
        for start in range(0, len(records), FLUSH):
            store.upsert(records[start : start + FLUSH])
            store.flush()


def straight(path: Path, records: Sequence[PageRecord]) -> None:
    """As the engine's documentation does it."""
    path.mkdir()
    shard = edge.EdgeShard.create(str(path), engine.config(LAYOUT))
    for start in range(0, len(records), BATCH):
        points = [point(record) for record in records[start : start + BATCH]]
        shard.update(edge.UpdateOperation.upsert_points(points))
        if start // FLUSH != (start + BATCH) // FLUSH:
            shard.flush()
    shard.flush()
    shard.close()


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
