"""Let a producer run ahead of its consumer, by a bounded number of items."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Generic, Self, TypeVar

from docrag.ingest.write_lock import ASK_EVERY

Item = TypeVar("Item")

PATIENCE = 1.0
"""Seconds to wait for a producer that is no longer needed."""


class _End:
    """Marks the end of the items, with the error that ended them, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Prefetch(Generic[Item]):
    """Items that a thread produces while the consumer is busy with others.

    Args:
        items: Iterated in the thread.
        most: Items that may wait; the producer pauses when there are so many.
        should_stop: Asked while the consumer waits, too; once it says yes, there are no more items.

    >>> with Prefetch(range(3), 2) as items:
    ...     list(items)
    [0, 1, 2]
    """

    def __init__(
        self, items: Iterable[Item], most: int, should_stop: Callable[[], bool] | None = None
    ) -> None:
        self.waited = 0.0
        """Seconds in which the consumer waited for an item."""
        self.stopped = False
        """Whether the items ended because it was told to stop."""
        self._should_stop = should_stop
        self._queue: queue.Queue[Item | _End] = queue.Queue(most)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._produce, args=(items,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the producer end after its present item; one that takes long over it is left behind."""
        self._stopped.set()
        deadline = time.monotonic() + PATIENCE
        while self._thread.is_alive() and time.monotonic() < deadline:
            while not self._queue.empty():  # a producer that waits for room must see the sign
                self._queue.get_nowait()
            self._thread.join(0.02)

    def __iter__(self) -> Iterator[Item]:
        """The items in order; an error of the producer is raised after the items before it."""
        while not isinstance(item := self._get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    def _get(self) -> Item | _End:
        started = time.perf_counter()
        try:
            while not (self._should_stop and self._should_stop()):
                with suppress(queue.Empty):
                    return self._queue.get(timeout=ASK_EVERY if self._should_stop else None)
            self.stopped = True
            return _End(None)
        finally:
            self.waited += time.perf_counter() - started

    def _produce(self, items: Iterable[Item]) -> None:
        error: BaseException | None = None
        try:
            for item in items:
                self._queue.put(item)
                if self._stopped.is_set():
                    break
        except BaseException as raised:  # noqa: BLE001 (raised again in the consumer)
            error = raised
        self._queue.put(_End(error))
