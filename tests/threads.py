"""Helpers that run calls in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    """Call a function in threads that start together; return the results, or raise the first error."""
    start = threading.Barrier(count)

    def run(i: int) -> Any:
        start.wait()
        return call(i)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def beside(call: Callable[[], Any]) -> Future[Any]:
    """Start a call in a thread of its own."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(call)
    pool.shutdown(wait=False)
    return future
