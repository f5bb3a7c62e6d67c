"""How many pages an index has while it is open, without asking at every search."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

RECOUNT = 60.0
"""Seconds after which they are counted anew: other processes write to a server, too."""


class PageCount:
    """The pages of an open index.

    Args:
        count: Counts them: 0.2 ms in the embedded engine, a request to a server.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._known: tuple[float, int] | None = None
        self.changes = 0
        """How often this process has changed them."""

    def __call__(self) -> int:
        """As they were a minute ago, at most, unless this process changed them since."""
        known, now = self._known, time.monotonic()
        if known is None or now - known[0] > RECOUNT:
            self._known = known = now, self._count()
        return known[1]

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Pages come or go meanwhile."""
        try:
            yield
        finally:
            self._known = None
            self.changes += 1
