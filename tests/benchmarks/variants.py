"""What patches cost by how they are stored, and what the client's local mode takes for the same pages."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from qdrant_client import QdrantClient, models

from docrag.search.stages import Stages
from docrag.store.local.store import EdgeStore
from docrag.store.server.translate import to_query
from docrag.types import PATCHES, POOLED, Datatype
from tests.benchmarks.asking import TOP, Clock, exact, layout, plan, timed, top
from tests.benchmarks.synthetic import DIM, World, page_id

QUERIES = 10
FLUSH = 96
VECTORS_ONLY = Stages({POOLED: 100}, sieve=0)


class Kept(NamedTuple):
    """How patches are kept."""

    name: str
    datatype: Datatype
    inked: bool = False


KEPT = (
    Kept("float16", "float16"),
    Kept("turbo8", "turbo8"),
    Kept("turbo4", "turbo4"),
    Kept("float16, inked", "float16", inked=True),
    Kept("turbo8, inked", "turbo8", inked=True),
)


def measure_kept(folder: Path, pages: int, kept: Kept) -> dict[str, Any]:
    """Disk a page and recall against all patches in float32, by how patches are kept."""
    world = World()
    asked = [world.query(number, pages) for number in range(QUERIES)]
    scores: list[list[float]] = [[] for _ in asked]
    vectors = 0
    with EdgeStore.create(folder, layout(kept.datatype)) as store:
        for start in range(0, pages, FLUSH):
            numbers = range(start, min(start + FLUSH, pages))
            records = [world.record(number) for number in numbers]
            stored = [world.record(number, inked=True) for number in numbers] if kept.inked else records
            vectors += sum(len(np.asarray(record.vectors[PATCHES])) for record in stored)
            store.upsert(stored)
            store.flush()
            for query, found in zip(asked, scores, strict=True):
                for record in records:
                    product = np.asarray(query[PATCHES]) @ np.asarray(record.vectors[PATCHES]).T
                    found.append(float(product.max(axis=1).sum()))
        best = [{page_id(number) for number in top(np.asarray(found))} for found in scores]
        store.optimize()
        row = timed(store, kept.name, exact, asked, best)
        two = timed(store, kept.name, lambda query: plan(query, Stages.for_pages(pages)), asked, best)
    disk = sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())
    shutil.rmtree(folder)
    return {
        **row,
        "pages": pages,
        "vectors_a_page": round(vectors / pages),
        "two_stage_cpu_ms": two["cpu_ms"],
        "two_stage_recall": two["recall"],
        "kb_a_page": round(disk / pages / 1000, 1),
    }


def measure_local(pages: int) -> dict[str, Any]:
    """The client's local mode in memory, with the same plan."""
    client = QdrantClient(":memory:")
    multi = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    params = models.VectorParams(size=DIM, distance=models.Distance.DOT, multivector_config=multi)
    client.create_collection("pages", vectors_config={PATCHES: params, POOLED: params})
    world = World()
    for records in world.records(pages):
        points = [
            models.PointStruct(
                id=record.id,
                vector={name: np.asarray(record.vectors[name]).tolist() for name in (PATCHES, POOLED)},
            )
            for record in records
        ]
        client.upsert("pages", points)
    asked = [world.query(number, pages) for number in range(QUERIES // 2)]
    clock = Clock()
    for query in asked:
        request = to_query(plan(query, VECTORS_ONLY))
        with clock:
            client.query_points(
                "pages",
                prefetch=request.prefetch,
                query=request.query,
                using=PATCHES,
                limit=TOP,
                with_payload=False,
            )
    return {"pages": pages, **clock.row("client, local mode", len(asked), 1.0)}
