"""Late-interaction search in two stages on the embedded engine, against exact search, on synthetic pages.

python -m tests.benchmarks.test_search [--pages 1000 5000] [--large] [--queries 20] [--json]

One run measures all of: brute force in torch as byaldi and colpali-engine do it, the same with less copying,
exact MaxSim in the engine, the plans of docrag, what smaller patches take on disk, and the client's local
mode where it ends. The last lines compare with what was aimed at. It takes minutes; pytest leaves it alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from docrag.search.stages import Stages
from docrag.store.local.store import EdgeStore
from docrag.types import PATCHES, POOLED, PageRecord
from tests.benchmarks.asking import Clock, Query, exact, in_new_process, layout, plan, rss_anon, timed, top
from tests.benchmarks.synthetic import DIM, World, page_id
from tests.benchmarks.variants import KEPT, measure_kept, measure_local

CHUNK = 512
"""Pages in memory at a time: four batches of colpali-engine."""
COLPALI_BATCH = 128
PADDED = 2
"""Queries that are scored as colpali-engine does it, which copies all pages for each: five times the CPU."""
FLUSH = 96
LARGE = 20_000
LOCAL = 200
"""Pages for the client's local mode: with 1,000 it takes 44 s to open and 4 s a query."""
EXACT_QUERIES = 5
DATATYPE_PAGES = 5000
"""With a thousand, what any index takes weighs: the log, segments that grow by steps."""
DEFAULT = "docrag, default"
COLPALI, LEAN = "torch as colpali-engine", "torch without padding"
PLANS: Mapping[str, Stages] = {
    "default of a small index": Stages(),
    "the same, no sieve": Stages(sieve=0),
    "pooled 100": Stages({POOLED: 100}, sieve=0),
    "pooled 300": Stages({POOLED: 300}, sieve=0),
    "sieve 1000, pooled 100": Stages({POOLED: 100}, sieve=1000),
    "sieve 1000, pooled 300": Stages({POOLED: 300}, sieve=1000),
    "sieve 2000, pooled 500": Stages({POOLED: 500}, sieve=2000),
    "sieve 200, pooled 30": Stages({POOLED: 30}, sieve=200),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pages", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--large", action="store_true", help=f"also {LARGE} pages: 6 GB of disk")
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--lean", action="store_true", help="leave out datatypes and the client's local mode")
    parser.add_argument("--folder", type=Path, help="where the indexes are made [a temporary one]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="docrag-two-stage-", dir=args.folder))
    try:
        sizes = [*args.pages, *([LARGE] if args.large else [])]
        report: dict[str, Any] = {"cores": os.cpu_count(), "load_before": os.getloadavg()[0]}
        report["sizes"] = [measure(folder / str(pages), pages, args.queries) for pages in sizes]
        report["datatypes"] = [
            in_new_process(measure_kept, folder / kept.name, min(DATATYPE_PAGES, max(sizes)), kept)
            for kept in KEPT
            if not args.lean
        ]
        report["local"] = {} if args.lean else in_new_process(measure_local, LOCAL)
        report["exponents"] = exponents(report["sizes"])
        report["aims"] = list(aims(report))
        report["load_after"] = os.getloadavg()[0]
    finally:
        shutil.rmtree(folder)
    if args.json:
        print(json.dumps(report))
    else:
        show(report)


def measure(folder: Path, pages: int, count: int) -> dict[str, Any]:
    """Brute force while the pages go by, then the index in a process of its own."""
    told = in_new_process(build, folder, pages, count)
    found = in_new_process(search, folder, pages, told.pop("oracle"))
    shutil.rmtree(folder)
    rows = told.pop("rows") + found.pop("rows")
    for row in rows:
        for name, base in (("colpali", rows[0]), ("lean", rows[1])):
            row[f"cpu_{name}"] = round(base["cpu_ms"] / row["cpu_ms"], 1)
            row[f"wall_{name}"] = round(base["wall_ms"] / row["wall_ms"], 1)
    return {"pages": pages, **told, **found, "rows": rows}


def build(folder: Path, pages: int, count: int) -> dict[str, Any]:
    """Write the index, and score every query against every page by brute force."""
    world = World()
    asked = [world.query(number, pages) for number in range(count)]
    clocks = {COLPALI: Clock(), LEAN: Clock(), "ingest": Clock()}
    scores: list[list[NDArray[np.float32]]] = [[] for _ in asked]
    few = [world.record(number) for number in range(COLPALI_BATCH)]
    brute(few, asked[:1], [[]], {name: Clock() for name in clocks})  # warms up
    with EdgeStore.create(folder, layout()) as store:
        for records in world.records(pages, CHUNK):
            with clocks["ingest"]:
                for start in range(0, len(records), FLUSH):
                    store.upsert(records[start : start + FLUSH])
                    store.flush()
            brute(records, asked, scores, clocks)
        store.optimize()
    oracle = [top(np.concatenate(parts)) for parts in scores]
    ingest = clocks.pop("ingest")
    return {
        "oracle": oracle,
        "ingest_pages_per_second": round(pages / ingest.wall, 1),
        "rows": [
            clock.row(name, min(count, PADDED if "colpali" in name else count), 1.0)
            for name, clock in clocks.items()
        ],
    }


def brute(
    records: Sequence[PageRecord],
    asked: Sequence[Query],
    scores: Sequence[list[NDArray[np.float32]]],
    clocks: Mapping[str, Clock],
) -> None:
    """Score all queries against some pages, both ways, and keep the scores."""
    import torch

    vectors = [torch.from_numpy(np.asarray(record.vectors[PATCHES])) for record in records]
    stacked = torch.stack(vectors)
    for number, (query, found) in enumerate(zip(asked, scores, strict=True)):
        one = torch.from_numpy(np.asarray(query[PATCHES]))[None]
        if number < PADDED:
            with clocks[COLPALI]:
                for start in range(0, len(vectors), COLPALI_BATCH):
                    part = vectors[start : start + COLPALI_BATCH]
                    padded = torch.nn.utils.rnn.pad_sequence(part, batch_first=True)
                    torch.einsum("bnd,csd->bcns", one, padded).max(dim=3)[0].sum(dim=2)
        with clocks[LEAN]:
            for start in range(0, len(vectors), COLPALI_BATCH):
                batch = stacked[start : start + COLPALI_BATCH]
                scored = torch.einsum("bnd,csd->bcns", one, batch).max(dim=3)[0].sum(dim=2)
                found.append(scored[0].numpy())


def search(folder: Path, pages: int, oracle: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Time exact search and every plan in an index; recall is against brute force in float32."""
    world = World()
    asked = [world.query(number, pages) for number in range(len(oracle))]

    best = [{page_id(number) for number in numbers} for numbers in oracle]
    disk = sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())
    bare = rss_anon()
    with EdgeStore.open(folder, layout()) as store:
        rows = [timed(store, "edge, exact", exact, asked[:EXACT_QUERIES], best)]
        for name, stages in {DEFAULT: Stages.for_pages(pages), **PLANS}.items():
            rows.append(timed(store, name, lambda query, stages=stages: plan(query, stages), asked, best))
        used = rss_anon()
    raw = pages * 1030 * DIM * 4
    return {
        "rows": rows,
        "kb_a_page": round(disk / pages / 1000, 1),
        "anonymous_mb": round(used / 2**20, 1),
        "of_it_before_opening": round(bare / 2**20, 1),
        "anonymous_share_of_float32": round(used / raw, 4),
    }


def exponents(sizes: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """How CPU time grows from each size to the next, and from the first to the last: 1 is linear."""
    grown: dict[str, list[float]] = {}
    for small, large in [*pairwise(sizes), *([(sizes[0], sizes[-1])] if len(sizes) > 2 else [])]:
        factor = np.log(large["pages"] / small["pages"])
        for before, after in zip(small["rows"], large["rows"], strict=True):
            exponent = float(np.log(after["cpu_ms"] / before["cpu_ms"]) / factor)
            grown.setdefault(before["what"], []).append(round(exponent, 2))
    return grown


def aims(report: Mapping[str, Any]) -> Iterator[tuple[str, float, str]]:
    """What was measured, beside what was aimed at."""
    for size in report["sizes"]:
        at = f"{size['pages']} pages"
        [row] = [row for row in size["rows"] if row["what"] == DEFAULT]
        least = {5_000: "at least 15", 20_000: "at least 40"}.get(size["pages"], "")
        yield f"times less CPU than {COLPALI}, {at}", row["cpu_colpali"], least
        yield f"times less CPU than {LEAN}, {at}", row["cpu_lean"], least
        yield f"recall@10, {at}", row["recall"], "at least 0.98"
        yield f"anonymous memory to the vectors' size, {at}", size["anonymous_share_of_float32"], "below 0.1"
        yield f"KB a page, float16, {at}", size["kb_a_page"], "at most 290"
    for kept in report["datatypes"]:
        most = {"float16": "at most 290", "turbo8": "at most 160", "float16, inked": "at most 160"}
        yield (
            f"KB a page, {kept['what']}, {kept['pages']} pages",
            kept["kb_a_page"],
            most.get(kept["what"], ""),
        )
        yield f"recall@10 in two stages, {kept['what']}", kept["two_stage_recall"], "at least 0.98"
    if report["exponents"]:
        ends = f"{report['sizes'][0]['pages']} to {report['sizes'][-1]['pages']} pages"
        yield f"exponent of CPU time, {ends}", report["exponents"][DEFAULT][-1], "clearly below 1"


def show(report: Mapping[str, Any]) -> None:
    """Print a table for each size."""
    cores, before, after = (report[name] for name in ("cores", "load_before", "load_after"))
    print(f"{cores} cores, load {before:.2f} before, {after:.2f} after")
    for size in report["sizes"]:
        print(*(f"{name} {value}" for name, value in size.items() if name != "rows"), sep=", ")
        print(f"{'ms CPU, wall; times less CPU, wall, than colpali-engine, than lean; recall':>100}")
        for row in size["rows"]:
            values = (
                f"{value:9.{3 if name == 'recall' else 1}f}" for name, value in row.items() if name != "what"
            )
            print(f"  {row['what']:24}", *values)
    for row in (*report["datatypes"], report["local"], report["exponents"]):
        print(row)
    for what, figure, aim in report["aims"]:
        print(f"{what:70} {figure:8.3f}  {aim}")


if __name__ == "__main__":
    main()
