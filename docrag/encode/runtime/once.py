"""What lets many threads use one model: it is loaded once, and they take turns with its tokenizer."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import Any, TypeVar

Value = TypeVar("Value")

LOADING = threading.RLock()
"""Held while any model is loaded: transformers imports its parts when they are first asked for, and torch
gives each load all the memory and cores that it can have."""


class once(cached_property[Value]):
    """A cached_property that is made once, however many threads ask for it first.

    Python's own has no lock from 3.12 on: sixteen threads would load sixteen models.
    """

    def __get__(self, instance: object, owner: type | None = None) -> Value:  # type: ignore[override]
        """The value, made now if it is asked for the first time."""
        with LOADING:
            return super().__get__(instance, owner)


def guard(tokenizer: Any) -> None:
    """Let threads take turns with a tokenizer of transformers, by giving it a class that does.

    It holds how it pads and cuts: threads that ask for different things at once get each other's lengths, and
    in earlier versions "Already borrowed". Those of the library tokenizers alone are not changed by a call,
    and left as they are.
    """
    from transformers import PreTrainedTokenizerBase

    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        return
    plain, turn = type(tokenizer), threading.RLock()

    def call(self: Any, *args: Any, **named: Any) -> Any:
        with turn:
            return plain.__call__(self, *args, **named)

    tokenizer.__class__ = type(plain.__name__, (plain,), {"__call__": call, "__module__": plain.__module__})
