"""Errors that travel from one process to another: docrag's own keep their class, message and hint."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import docrag.errors as errors
from docrag.errors import DocragError, StoreError

logger = logging.getLogger(__name__)

_MORE_ARGUMENTS = ("status", "holder")
"""What some errors are made of beside their message and hint; none has both."""


def describe(error: BaseException, method: str) -> dict[str, Any]:
    """An error as plain values.

    Args:
        error: The error. One that is not docrag's is logged, because only its text travels.
        method: The call that it ended.
    """
    if isinstance(error, DocragError):
        more = [getattr(error, name) for name in _MORE_ARGUMENTS if hasattr(error, name)]
        return {"class": type(error).__name__, "arguments": [error.message, error.hint, *more]}
    logger.error("%s failed", method, exc_info=error)
    message = f"{method} failed in the engine's process: {type(error).__name__}: {error}"
    hint = "see .engine.log in the directory of the index"
    return {"class": StoreError.__name__, "arguments": [message, hint]}


def restored(description: Mapping[str, Any]) -> DocragError:
    """The error that a description was made of; a class that this version lacks becomes a StoreError."""
    known = getattr(errors, description["class"], None)
    if known is None:
        return StoreError(*description["arguments"][:2])
    error: DocragError = known(*description["arguments"])
    return error
