"""Reports how long stages take to whoever listens, so that a stage need not know who measures it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, str, float], None]
"""Called with the name of a stage, the model that it ran (or an empty text), and its duration in seconds."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call `listener` for each stage that this thread runs within the block; other threads are not affected.

    >>> with listening(lambda stage, model, seconds: print(stage, model, seconds)):
    ...     report_time("render", 0.25)
    render  0.25
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def report_time(stage: str, seconds: float, model: str = "") -> None:
    """Report the duration of a stage that was measured by other means, such as in another process."""
    if listener := _listener.get():
        listener(stage, model, seconds)


@contextmanager
def timed(stage: str, model: str = "") -> Iterator[None]:
    """Measure the block as a stage; nothing is reported if it raises."""
    started = time.perf_counter()
    yield
    report_time(stage, time.perf_counter() - started, model)
