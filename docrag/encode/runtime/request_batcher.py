"""Batches the requests that several threads make at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Request(Generic[Item, Result]):
    """The request of one waiting thread."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.done = False
        self.result: Result
        self.error: Exception | None = None


class RequestBatcher(Generic[Item, Result]):
    """A function of one item that is computed for many items at once.

    A request that arrives while nothing is being computed is computed immediately, by itself. Requests that
    arrive in the meantime wait; then one of the waiting threads computes all of them. If a batch fails, each
    of its items is computed by itself, so that an error reaches only the caller whose item caused it.

    Args:
        work: Gives a result for each item, in order; two threads never call it at the same time.
        most: The most items that it is given at once.

    >>> RequestBatcher(lambda numbers: [2 * number for number in numbers], 8)(21)
    42
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Result]], most: int) -> None:
        self._work = work
        self._most = most
        self._waiting: list[_Request[Item, Result]] = []
        self._busy = False
        self._changed = threading.Condition()

    def __call__(self, item: Item) -> Result:
        """The result for one item.

        Raises:
            Exception: The error that `work` raised for it.
        """
        own: _Request[Item, Result] = _Request(item)
        with self._changed:
            self._waiting.append(own)
        try:
            while batch := self._next_batch(own):
                self._compute(batch)
        except BaseException:  # this thread is interrupted: the others go on without its request
            with self._changed:
                self._waiting = [request for request in self._waiting if request is not own]
            raise
        if own.error is not None:
            raise own.error
        return own.result

    def _next_batch(self, own: _Request[Item, Result]) -> list[_Request[Item, Result]]:
        """The requests that this thread has to compute; none once its own is done."""
        with self._changed:
            self._changed.wait_for(lambda: own.done or not self._busy)
            if own.done:
                return []
            self._busy = True
            batch = self._waiting[: self._most]
            self._waiting = self._waiting[self._most :]
            return batch

    def _compute(self, batch: Sequence[_Request[Item, Result]]) -> None:
        """Compute a batch, then wake the other threads; requests that are not done wait again."""
        try:
            self._try(batch)
        finally:
            with self._changed:
                self._waiting = [request for request in batch if not request.done] + self._waiting
                self._busy = False
                self._changed.notify_all()

    def _try(self, batch: Sequence[_Request[Item, Result]]) -> None:
        try:
            results = self._work([request.item for request in batch])
            for request, result in zip(batch, results, strict=True):
                request.result = result
                request.done = True
        except Exception as error:  # noqa: BLE001 (raised again in the thread whose request it is)
            if len(batch) > 1:
                for request in batch:
                    self._try([request])
            else:
                batch[0].error = error
                batch[0].done = True
