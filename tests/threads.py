"""Threads that tests start: all at once, and what each of them gave or raised."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    """What each thread gave; they begin together, and the first error is raised."""
    start = threading.Barrier(count)

    def run(i: int) -> Any:
        start.wait()
        return call(i)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def beside(call: Callable[[], Any]) -> Future[Any]:
    """A call in a thread of its own."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(call)
    pool.shutdown(wait=False)
    return future
