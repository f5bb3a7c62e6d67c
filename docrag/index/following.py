"""An open index that follows a migration: programs that run for long need not be started again after one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from docrag.common.time_limit import seconds_left
from docrag.errors import IndexNotFound, IndexReplaced

if TYPE_CHECKING:
    from docrag.index.index import Index
    from docrag.ingest.report import IngestReport

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

CHECK_SECONDS = 5.0
"""How often an index is compared with what its address names now. A migration that keeps the old index would
otherwise go unnoticed, since that one goes on answering."""


def following(index: Index, *, check_seconds: float = CHECK_SECONDS) -> Index:
    """Return an index that is opened anew, perhaps with other models, once a migration has replaced it.

    A thread opens the new index and loads its models; until it has done so, an old index that is still there
    goes on answering. Calls that were made before end with the index that they began with, or are made again
    with the new one if the old one is gone meanwhile. Only an ingest is not made again: it raises
    IndexReplaced, and the next one goes to the new index. The new index is closed together with the one that
    was given.

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
        self._check_lock = threading.Lock()
        """Held by the thread that compares the index with what its address names."""
        self._opening: Future[None] | None = None
        """The last time that the index was opened anew."""
        self._is_closed = False

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

    def ingest(self, *args: Any, **named: Any) -> IngestReport:
        """As `Index.ingest`. It is not made again: its listener has been told of some files already.

        Raises:
            IndexReplaced: A migration has replaced the index. The next call goes to the new one.
        """
        self._follow_if_due()
        with self._using() as index:
            try:
                return index.ingest(*args, **named)
            except IndexReplaced as replaced:
                logger.info("%s", replaced.message)
                self._follow(index)
                raise

    def close(self) -> None:
        """Close the index; one that is being opened anew is closed once it is open."""
        with self._lock:
            self._is_closed = True
            opening = self._opening
        if opening is not None:
            wait([opening])
        self._opened.index.close()

    def _call(self, do: Callable[..., Result], *args: Any, **named: Any) -> Result:
        self._follow_if_due()
        with self._using() as index:
            try:
                return do(index, *args, **named)
            except IndexReplaced as replaced:
                logger.info("%s", replaced.message)
                if not self._follow(index):
                    raise
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
        """Compare the index with what its address names now, unless that was done a moment ago.

        The caller does not wait for a new index, since the old one still answers, or says that it is gone.
        """
        if time.monotonic() < self._next_check or not self._check_lock.acquire(blocking=False):
            return
        try:
            self._next_check = time.monotonic() + self._check_seconds
            with self._using() as index:
                try:
                    index.require_current()
                except IndexReplaced as replaced:
                    logger.info("%s", replaced.message)
                    self._open_anew(index)
        except IndexNotFound as missing:  # only its name is gone: what is open still answers
            logger.warning("%s", missing)
        finally:
            self._check_lock.release()

    def _follow(self, replaced: Index) -> bool:
        """Wait until the index is opened anew, as long as the caller may take; False if that is too short.

        Raises:
            DocragError: The new index cannot be opened.
        """
        opening = self._open_anew(replaced)
        if opening is None:
            return False
        wait([opening], timeout=min(seconds_left(), threading.TIMEOUT_MAX))
        if not opening.done():
            return False
        opening.result()
        return True

    def _open_anew(self, replaced: Index) -> Future[None] | None:
        """Let a thread open the index anew, unless one is doing so; None if this was closed.

        The thread has no time limit of its caller's: models may take longer to load than any request may.
        """
        with self._lock:
            if self._is_closed:
                return None
            if self._opening is None or self._opening.done():
                executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="docrag-following")
                self._opening = executor.submit(Context().run, self._replace, replaced)
                executor.shutdown(wait=False)
            return self._opening

    def _replace(self, replaced: Index) -> None:
        """Open the index anew and use it from now on, unless that was done already."""
        if self._opened.index is not replaced:
            return
        try:
            fresh = _opened_anew(replaced)
        except Exception as error:
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


def _opened_anew(replaced: Index) -> Index:
    """Open the index at an address again, and load its models, for which no request has to wait then."""
    fresh = replaced.reopened()
    try:
        fresh.search("ready?", k=1)
    except BaseException:
        fresh.close()
        raise
    return fresh
