"""Time searches of many threads in one index, beside those of one thread.

python -m tests.benchmarks.concurrent_search [--index DIR] [--threads 8] [--seconds 5]

Without --index the demo is indexed. Rounds of one thread and of many follow each other, so that what else the
machine does meets both. The queries of many threads are encoded in fewer passes; the rest of a search takes
turns, for qdrant-edge 0.9.0 holds the interpreter lock while it searches and while it reads pages (a thread
that only counts beside it waits for the lock three quarters of the time): that is what bounds the ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from itertools import count
from pathlib import Path

from docrag import Index, demo

QUESTIONS = (
    "What do four red flashes mean?",
    "How many passengers took the night boat?",
    "Which pump must be serviced first?",
    "Wann wird die Wärme abgestellt?",
    "tide gauge error in winter",
    "annual report 2023 revenue",
    "How long is the guarantee?",
)
ROUNDS = 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--index", type=Path, help="where the pages are [the demo]")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round")
    args = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} before")
    with tempfile.TemporaryDirectory() as folder, Index.open(args.index or Path(folder, "index")) as index:
        if args.index is None:
            index.ingest(demo.documents())
        run(index, 2, 1.0)
        ratios = []
        for _ in range(ROUNDS):
            one, many = run(index, 1, args.seconds), run(index, args.threads, args.seconds)
            ratios.append(many / one)
        print(f"{args.threads} threads against 1: {statistics.median(ratios):.2f} times the searches")
    print(f"load {os.getloadavg()[0]:.2f} after")


def run(index: Index, threads: int, seconds: float) -> float:
    """Searches a second of some threads; prints them, with their times."""
    taken: list[float] = []
    numbers, started = count(), time.perf_counter()

    def search() -> None:
        while time.perf_counter() - started < seconds:
            began = time.perf_counter()
            assert index.search(QUESTIONS[next(numbers) % len(QUESTIONS)])
            taken.append(time.perf_counter() - began)

    workers = [threading.Thread(target=search) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    rate = len(taken) / (time.perf_counter() - started)
    ordered = sorted(taken)
    p50, p95 = (1000 * ordered[int(len(ordered) * share)] for share in (0.5, 0.95))
    print(f"{threads:>3} threads: {rate:6.1f} searches/s, p50 {p50:.0f} ms, p95 {p95:.0f} ms")
    return rate


if __name__ == "__main__":
    main()
