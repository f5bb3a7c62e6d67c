"""The limits of a collection as far as they are known: they are read after the server refused something."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from qdrant_client import models

from docrag.errors import ServerRefused
from docrag.store.server.failures import BAD_REQUEST, BUSY
from docrag.store.server.limits import NO_LIMITS, CollectionLimits, read_limits

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


_LESSONS = 3
"""How often a request is refused, at most, until its limits are known: by strict mode, and by rates."""


class KnownLimits:
    """Keeps the limits to which requests about a collection are made to fit; threads may share it.

    Args:
        read_info: Asks the server for its description of the collection; None if that is gone.
    """

    def __init__(self, read_info: Callable[[], models.CollectionInfo | None]) -> None:
        self.current = NO_LIMITS
        self._read_info = read_info

    def within(self, do: Callable[[CollectionLimits], Result]) -> Result:
        """Return what `do` returns; if the server refuses it, read the limits and do it again.

        Args:
            do: Makes requests that keep to the limits.

        Raises:
            ServerRefused: The server refuses it although it keeps to the limits, or for another reason.
        """
        for _ in range(_LESSONS):
            used = self.current
            try:
                return do(used)
            except ServerRefused as refused:
                self.learn_from(refused, used)
        return do(self.current)

    def learn_from(self, refused: ServerRefused, used: CollectionLimits) -> None:
        """Read the limits of the collection after a refusal.

        Args:
            refused: The refusal.
            used: The limits to which the refused request kept. If another thread has learned others since
                then, these are to be tried first.

        Raises:
            ServerRefused: The limits were known, or they have nothing to do with it.
        """
        if self.current is not used:
            return
        if refused.status == BUSY and used.search_batch != 1:
            logger.info("the searches of one request cost more than a minute allows: sending them singly")
            self.current = replace(used, search_batch=1)
            return
        if refused.status != BAD_REQUEST:
            raise refused
        info = self._read_info()
        limits = _with_lessons(read_limits(info), used) if info else NO_LIMITS
        if limits in (used, NO_LIMITS):
            raise refused
        logger.info("the collection is in strict mode: requests keep to %s from now on", limits)
        self.current = limits

    def write_at_most(self, pages: int) -> None:
        """Note that a request may write so many pages, because the server has refused more of them."""
        logger.info("the server refused a request to write: sending at most %d pages", pages)
        self.current = replace(self.current, upsert_batch=pages)


def _with_lessons(limits: CollectionLimits, used: CollectionLimits) -> CollectionLimits:
    """Return limits of a collection, with what its rates allow as refusals have shown."""
    return replace(
        limits,
        search_batch=_smaller(limits.search_batch, used.search_batch),
        upsert_batch=_smaller(limits.upsert_batch, used.upsert_batch),
    )


def _smaller(one: int | None, other: int | None) -> int | None:
    sizes = [size for size in (one, other) if size is not None]
    return min(sizes, default=None)
