"""An open index that follows a migration: programs that run for long need not be started again after one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from docrag.errors import DocragError, IndexNotFound, IndexReplaced

if TYPE_CHECKING:
    from docrag.index.index import Index

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

CHECK_SECONDS = 5.0
"""How often an index is compared with what its address names now. A migration that keeps the old index would
otherwise go unnoticed, since that one goes on answering."""


def following(index: Index, *, check_seconds: float = CHECK_SECONDS) -> Index:
    """Return an index that is opened anew, perhaps with other models, once a migration has replaced it.

    Calls that were made before end with the index that they began with, or are made again with the new one if
    the old one is gone meanwhile. The new index is closed together with the one that was given.

    Args:
        index: An open index, which is used from here on only through what this returns.
        check_seconds: After this long a call compares the index with what its address names now.
    """
    return cast("Index", _FollowingIndex(index, check_seconds))


class _Opened:
    """An index, and how many calls are using it."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.users = 0


class _FollowingIndex:
    """Passes everything on to an index; several threads may use it at once."""

    def __init__(self, index: Index, check_seconds: float) -> None:
        self._opened = _Opened(index)
        self._check_seconds = check_seconds
        self._next_check = time.monotonic() + check_seconds
        self._generation = 0
        self._lock = threading.Lock()
        self._follow_lock = threading.Lock()
        """Held by the thread that opens the index anew."""

    def __getattr__(self, name: str) -> Any:
        """A method or property of the index."""
        attribute = getattr(type(self._opened.index), name)  # an AttributeError if an index has no such thing
        if callable(attribute):
            return partial(self._call, lambda index, *args, **named: getattr(index, name)(*args, **named))
        return self._call(lambda index: getattr(index, name))

    @property
    def changes(self) -> Hashable:
        """As `Index.changes`, and different for each index that was opened."""
        return self._call(lambda index: (self._generation, index.changes))

    def close(self) -> None:
        """Close the index."""
        self._opened.index.close()

    def _call(self, do: Callable[..., Result], *args: Any, **named: Any) -> Result:
        self._follow_if_due()
        with self._using() as index:
            try:
                return do(index, *args, **named)
            except IndexReplaced as replaced:
                logger.info("%s", replaced.message)
        self._follow(index)
        with self._using() as index:
            return do(index, *args, **named)

    @contextmanager
    def _using(self) -> Iterator[Index]:
        """The index, which is not closed meanwhile."""
        with self._lock:
            opened = self._opened
            opened.users += 1
        try:
            yield opened.index
        finally:
            with self._lock:
                opened.users -= 1
                is_left = opened is not self._opened and not opened.users
            if is_left:
                opened.index.close()

    def _follow_if_due(self) -> None:
        """Compare the index with what its address names now, unless that was done a moment ago."""
        if time.monotonic() < self._next_check or not self._follow_lock.acquire(blocking=False):
            return
        try:
            self._next_check = time.monotonic() + self._check_seconds
            with self._using() as index:
                try:
                    index.require_current()
                except IndexReplaced as replaced:
                    logger.info("%s", replaced.message)
                    self._replace(index)
        except IndexNotFound as missing:  # only its name is gone: what is open still answers
            logger.warning("%s", missing)
        finally:
            self._follow_lock.release()

    def _follow(self, replaced: Index) -> None:
        """Open the index anew, unless another thread has done so."""
        with self._follow_lock:
            if self._opened.index is replaced:
                self._replace(replaced)

    def _replace(self, replaced: Index) -> None:
        """Open the index anew and use it from now on; the caller holds `_follow_lock`."""
        try:
            fresh = replaced.reopened()
        except DocragError as error:
            logger.error("the index was replaced, and the new one cannot be opened: %s", error)
            raise
        with self._lock:
            old = self._opened
            self._opened = _Opened(fresh)
            self._generation += 1
            is_left = not old.users
        if is_left:
            old.index.close()
        logger.info("the index was replaced, and is opened anew")
