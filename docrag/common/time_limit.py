"""A limit to the time that some work may take, which whoever waits for other machines respects.

It belongs to the running thread or task, and to the threads that anyio starts for it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_end: ContextVar[float] = ContextVar("docrag_time_limit", default=math.inf)
_once: ContextVar[bool] = ContextVar("docrag_only_one_try", default=False)
_patient: ContextVar[bool] = ContextVar("docrag_patient", default=False)
_should_stop: ContextVar[Callable[[], bool] | None] = ContextVar("docrag_should_stop", default=None)


@contextmanager
def time_limit(seconds: float, *, only_one_try: bool = False) -> Iterator[None]:
    """Limit the time of everything within; of two limits inside each other the one that ends first counts.

    Args:
        seconds: From now on, 0 or more.
        only_one_try: Whether a request that fails is not made again, however much time is left.
    """
    end = _end.set(min(_end.get(), time.monotonic() + seconds))
    once = _once.set(_once.get() or only_one_try)
    try:
        yield
    finally:
        _end.reset(end)
        _once.reset(once)


@contextmanager
def patience(should_stop: Callable[[], bool] | None = None) -> Iterator[None]:
    """Mark work that waits longer for other machines, since hours of it would be lost if it gave up.

    Args:
        should_stop: Once it returns true, no failed request is made again. None keeps what holds already.
    """
    patient = _patient.set(True)
    stop = _should_stop.set(should_stop or _should_stop.get())
    try:
        yield
    finally:
        _patient.reset(patient)
        _should_stop.reset(stop)


def is_patient() -> bool:
    """Whether the running work waits longer."""
    return _patient.get()


def seconds_left() -> float:
    """Seconds until the limit, 0 or more; infinite if there is none."""
    return max(0.0, _end.get() - time.monotonic())


def may_try_again(wait: float) -> bool:
    """Whether there is still time for a request that begins in `wait` seconds."""
    should_stop = _should_stop.get()
    is_stopped = should_stop is not None and should_stop()
    return not _once.get() and not is_stopped and wait < seconds_left()
