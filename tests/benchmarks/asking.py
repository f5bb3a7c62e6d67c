"""What the benchmarks on synthetic pages share: requests, clocks, a process with nothing else in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from docrag.search.query import plan_queries
from docrag.search.stages import Stages
from docrag.store.layout import Layout
from docrag.store.local.store import EdgeStore
from docrag.store.requests import QueryRequest
from docrag.types import PATCHES, Datatype, Vector
from tests.benchmarks.synthetic import DIM

TOP = 10
Query = Mapping[str, Vector]


@dataclass
class Clock:
    """CPU time of all threads and wall time, in ms a query."""

    cpu: float = 0.0
    wall: float = 0.0
    _from: tuple[float, float] = field(default=(0.0, 0.0), repr=False)

    def __enter__(self) -> Clock:
        self._from = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.cpu += time.process_time() - self._from[0]
        self.wall += time.perf_counter() - self._from[1]

    def row(self, name: str, count: int, recall: float) -> dict[str, Any]:
        """One line of the result."""
        cpu, wall = 1000 * self.cpu / count, 1000 * self.wall / count
        return {"what": name, "cpu_ms": round(cpu, 2), "wall_ms": round(wall, 2), "recall": round(recall, 4)}


def in_new_process(work: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
    """What a function gives in a process that has nothing else in memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def timed(
    store: EdgeStore,
    name: str,
    make: Callable[[Query], QueryRequest],
    asked: Sequence[Query],
    best: Sequence[set[str]],
) -> dict[str, Any]:
    """Ask every query once, after one that warms up."""
    store.query([make(asked[0])])
    clock, shares = Clock(), []
    for query, wanted in zip(asked, best, strict=False):
        with clock:
            found = store.query([make(query)])[0]
        shares.append(len({page.id for page in found[:TOP]} & wanted) / len(wanted))
    return clock.row(name, len(asked), float(np.mean(shares)))


def exact(query: Query) -> QueryRequest:
    """Exact MaxSim over all pages."""
    return QueryRequest(query[PATCHES], PATCHES, TOP)


def plan(query: Query, stages: Stages) -> QueryRequest:
    """What docrag asks in late mode."""
    return plan_queries("late", query, None, stages=stages)["late"]


def layout(datatype: Datatype = "float16") -> Layout:
    """That of ColPali with a text encoder of as many numbers."""
    return Layout.for_dims(late=DIM, image=None, text=DIM, datatype=datatype)


def top(scores: NDArray[Any]) -> list[int]:
    """Numbers of the best pages."""
    return [int(number) for number in np.argsort(-scores)[:TOP]]


def rss_anon() -> int:
    """Bytes of anonymous memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) * 1024
