"""Do together what several threads ask for at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Call(Generic[Item, Result]):
    """What one thread waits for."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.done = False
        self.result: Result
        self.error: Exception | None = None


class RequestBatcher(Generic[Item, Result]):
    """A function of one item that is computed for many at once.

    A caller who comes while nothing is computed does so at once, for itself alone. Those who come meanwhile
    wait; then one of them computes what all of them want. What fails for several is computed for each by
    itself, so that an error reaches the caller whose item it is and no other.

    Args:
        work: Gives a result for each item, in order; it is never called by two threads at a time.
        most: Items that it is given at once.

    >>> RequestBatcher(lambda numbers: [2 * number for number in numbers], 8)(21)
    42
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Result]], most: int) -> None:
        self._work = work
        self._most = most
        self._waiting: list[_Call[Item, Result]] = []
        self._busy = False
        self._changed = threading.Condition()

    def __call__(self, item: Item) -> Result:
        """The result for one item.

        Raises:
            Exception: What `work` raised for it.
        """
        mine: _Call[Item, Result] = _Call(item)
        with self._changed:
            self._waiting.append(mine)
        try:
            while batch := self._next(mine):
                self._compute(batch)
        except BaseException:  # this thread is told to stop: the others go on without it
            with self._changed:
                self._waiting = [call for call in self._waiting if call is not mine]
            raise
        if mine.error is not None:
            raise mine.error
        return mine.result

    def _next(self, mine: _Call[Item, Result]) -> list[_Call[Item, Result]]:
        """What this thread has to compute; nothing once its own is done."""
        with self._changed:
            self._changed.wait_for(lambda: mine.done or not self._busy)
            if mine.done:
                return []
            self._busy = True
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            return batch

    def _compute(self, batch: Sequence[_Call[Item, Result]]) -> None:
        try:
            self._try(batch)
        finally:
            with self._changed:
                self._waiting = [call for call in batch if not call.done] + self._waiting
                self._busy = False
                self._changed.notify_all()

    def _try(self, batch: Sequence[_Call[Item, Result]]) -> None:
        try:
            results = self._work([call.item for call in batch])
            for call, result in zip(batch, results, strict=True):
                call.result = result
                call.done = True
        except Exception as error:  # noqa: BLE001 (raised again by the thread that asked)
            if len(batch) > 1:
                for call in batch:
                    self._try([call])
            else:
                batch[0].error = error
                batch[0].done = True
