"""Errors that travel from one process to another: docrag's own keep their class, message and hint."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import docrag.errors as errors
from docrag.errors import DocragError, StoreError

logger = logging.getLogger(__name__)


def describe(error: Exception, method: str) -> dict[str, Any]:
    """An error as plain values.

    Args:
        error: The error. One that is not docrag's is logged, because only its text travels.
        method: The call that it ended.
    """
    if isinstance(error, DocragError):
        status = getattr(error, "status", None)
        return {
            "class": type(error).__name__,
            "message": error.message,
            "hint": error.hint,
            "status": status,
        }
    logger.error("%s failed", method, exc_info=error)
    return {
        "class": StoreError.__name__,
        "message": f"{method} failed in the engine's process: {type(error).__name__}: {error}",
        "hint": "see .engine.log in the directory of the index",
        "status": None,
    }


def restored(description: Mapping[str, Any]) -> DocragError:
    """The error that a description was made of; a class that this version lacks becomes a StoreError."""
    known = getattr(errors, description["class"], StoreError)
    arguments = [description["message"], description["hint"]]
    if description["status"] is not None:
        arguments.append(description["status"])
    error: DocragError = known(*arguments)
    return error
