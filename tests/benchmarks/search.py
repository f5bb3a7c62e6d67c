"""Time searches in an index: warm in one process, against brute force, and as a command.

python -m tests.benchmarks.search --index DIR
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from docrag import Index
from docrag.evaluate.qrels import read_queries
from docrag.types import MODES, PATCHES
from tests.benchmarks.data import data

COLD_RUNS = 3
WARM_UP = 3
BRUTE = 10
"""Questions answered by brute force."""
READ = 64
"""Pages read at a time."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, help="where the pages are")
    parser.add_argument("--queries", type=Path, help="queries.jsonl [../shared/data/dev/queries.jsonl]")
    parser.add_argument("--most", type=int, help="questions asked in each mode [all]")
    args = parser.parse_args()
    asked = list(read_queries(args.queries or data("dev", "queries.jsonl")).values())
    step = -(-len(asked) // (args.most or len(asked)))
    questions = [one.text for one in asked[::step]]
    print(f"{args.index}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} before")
    cold = [command_seconds(args.index, question) for question in questions[:COLD_RUNS]]
    print(f"as a command: {', '.join(f'{seconds:.2f} s' for seconds in cold)}")
    with Index.open(args.index, create=False) as index:
        warm(index, questions)
        against_brute_force(index, questions[:: max(1, len(questions) // BRUTE)][:BRUTE])
    print(f"load {os.getloadavg()[0]:.2f} after")


def command_seconds(index: Path, question: str) -> float:
    """Seconds of `docrag search` from start to end."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "docrag", "search", "--index", str(index), "--json", "--", question]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def warm(index: Index, questions: Sequence[str]) -> None:
    """Print p50 and p95 of each mode."""
    for mode in MODES:
        ask = partial(index.search, mode=mode)
        timed(ask, questions[:WARM_UP])
        p50, p95 = np.percentile(timed(ask, questions)[1], (50, 95))
        print(f"{mode}: p50 {p50:.1f} ms, p95 {p95:.1f} ms, {len(questions)} questions", flush=True)


def against_brute_force(index: Index, questions: Sequence[str]) -> None:
    """Print how the modes compare with exact MaxSim over every stored vector, query encoding included."""
    ids, patches, starts = stored(index)

    def brute(question: str) -> list[str]:
        query = np.asarray(index._encoders.encode_query(question)[PATCHES], np.float32)
        scores = np.maximum.reduceat(query @ patches.T, starts, axis=1).sum(axis=0)
        return [ids[place] for place in np.argsort(-scores)[:10]]

    timed(brute, questions[:1])
    exact, slow = timed(brute, questions)
    print(f"brute force over {len(ids)} pages, {len(patches)} vectors: p50 {np.median(slow):.1f} ms")
    for mode in ("late", "hybrid"):
        found, fast = timed(partial(index.search, mode=mode), questions)
        pairs = zip(exact, found, strict=True)
        same = np.mean([len({*one} & {hit.page_id for hit in hits}) / len(one) for one, hits in pairs])
        share = f"{np.median(fast) / np.median(slow):.2f} of it, {same:.0%} of the same ten"
        print(f"{mode}, the same questions: p50 {np.median(fast):.1f} ms, {share}")


def stored(index: Index) -> tuple[list[str], NDArray[np.float32], list[int]]:
    """All page ids, all their vectors one after another, and where those of each page start."""
    store = index._storage.store
    ids = [record.id for record in store.scroll(payload=["metadata.page"])]
    parts: list[NDArray[np.float32]] = []
    for start in range(0, len(ids), READ):
        records = store.retrieve(ids[start : start + READ], vectors=[PATCHES], payload=["metadata.page"])
        parts += [np.asarray(record.vectors[PATCHES], np.float32) for record in records]
    starts = np.cumsum([0, *(len(part) for part in parts[:-1])])
    return ids, np.concatenate(parts), starts.tolist()


def timed(answer: Callable[[str], Any], questions: Sequence[str]) -> tuple[list[Any], list[float]]:
    """The answers, and the milliseconds that each took."""
    answers, took = [], []
    for question in questions:
        started = time.perf_counter()
        answers.append(answer(question))
        took.append((time.perf_counter() - started) * 1000)
    return answers, took


if __name__ == "__main__":
    main()
