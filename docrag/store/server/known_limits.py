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


class KnownLimits:
    """Keeps the limits to which requests about a collection are made to fit; threads may share it.

    Args:
        read_info: Asks the server for its description of the collection; None if that is gone.
    """

    def __init__(self, read_info: Callable[[], models.CollectionInfo | None]) -> None:
        self.current = NO_LIMITS
        self._read_info = read_info

    def within(self, do: Callable[[CollectionLimits], Result]) -> Result:
        """Return what `do` returns; if the server refuses it, read the limits and do it once more.

        Args:
            do: Makes requests that keep to the limits.

        Raises:
            ServerRefused: The server refuses it although it keeps to the limits, or for another reason.
        """
        try:
            return do(self.current)
        except ServerRefused as refused:
            self.learn_from(refused)
        return do(self.current)

    def learn_from(self, refused: ServerRefused) -> None:
        """Read the limits of the collection after a refusal.

        Raises:
            ServerRefused: They were known, or they have nothing to do with it.
        """
        if refused.status == BUSY and self.current.search_batch != 1:
            logger.info("the searches of one request cost more than a minute allows: sending them singly")
            self.current = replace(self.current, search_batch=1)
            return
        if refused.status != BAD_REQUEST:
            raise refused
        info = self._read_info()
        limits = read_limits(info) if info else NO_LIMITS
        if limits in (self.current, NO_LIMITS):
            raise refused
        logger.info("the collection is in strict mode: requests keep to %s from now on", limits)
        self.current = limits

    def write_at_most(self, pages: int) -> None:
        """Note that a request may write so many pages, because the server has refused more of them."""
        logger.info("the server refused a request to write: sending at most %d pages", pages)
        self.current = replace(self.current, upsert_batch=pages)
