"""What lets many threads share one model: it is loaded once, and they use its tokenizer one at a time."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import Any, TypeVar

Value = TypeVar("Value")

LOADING = threading.RLock()
"""Held while any model is loaded: transformers imports its parts when they are first used, and torch gives
each load all the memory and cores that it can have."""


class once(cached_property[Value]):
    """A cached_property whose value is computed once, however many threads ask for it first.

    Python's own cached_property has no lock from 3.12 on: sixteen threads would load sixteen models.
    """

    def __get__(self, instance: object, owner: type | None = None) -> Value:  # type: ignore[override]
        """The value; computed if this is the first time it is needed."""
        with LOADING:
            return super().__get__(instance, owner)


def guard(tokenizer: Any) -> None:
    """Make a tokenizer of transformers safe for threads, by giving it a class that lets in one at a time.

    A tokenizer keeps its padding and truncation as state: threads that want different settings at the same
    time get each other's lengths, and earlier versions raise "Already borrowed". Tokenizers of the tokenizers
    library are not changed by a call, so they are left alone.
    """
    from transformers import PreTrainedTokenizerBase

    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        return
    plain_class = type(tokenizer)
    lock = threading.RLock()

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with lock:
            return plain_class.__call__(self, *args, **kwargs)

    members = {"__call__": call, "__module__": plain_class.__module__}
    tokenizer.__class__ = type(plain_class.__name__, (plain_class,), members)
