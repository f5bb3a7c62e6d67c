"""How long stages take, told to whoever listens: so stages need not know who measures them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, str, float], None]
"""Hears of a stage, the model that it ran or an empty text, and the seconds that it took."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Hear of the stages that this thread runs; other threads have listeners of their own.

    >>> with listening(lambda stage, model, seconds: print(stage, model, seconds)):
    ...     tell("render", 0.25)
    render  0.25
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(stage: str, seconds: float, model: str = "") -> None:
    """Say how long a stage took, where it was measured elsewhere, such as in another process."""
    if listener := _listener.get():
        listener(stage, model, seconds)


@contextmanager
def timed(stage: str, model: str = "") -> Iterator[None]:
    """Measure a stage; one that fails is not told."""
    started = time.perf_counter()
    yield
    tell(stage, time.perf_counter() - started, model)
