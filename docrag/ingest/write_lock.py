"""One change of an index at a time, whichever threads want to make them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ASK_EVERY = 0.1
"""Seconds between two questions whether to stop."""


class WriteLock:
    """What a thread holds while it changes an index; a listener may change it within an ingest."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.depth = 0
        """How often the thread that holds it has taken it."""

    @contextmanager
    def taken(self, should_stop: Callable[[], bool] | None = None) -> Iterator[bool]:
        """Wait until no other thread is at it, or until one is told to stop: then it is not taken.

        Args:
            should_stop: Asked while waiting; None waits as long as it takes.

        Yields:
            Whether it is taken.
        """
        while not self._lock.acquire(timeout=ASK_EVERY if should_stop else -1):
            if should_stop and should_stop():
                yield False
                return
        self.depth += 1
        try:
            yield True
        finally:
            self.depth -= 1
            self._lock.release()
