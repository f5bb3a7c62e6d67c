"""Pages are sent in requests that the server, and a proxy before it, accept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

from qdrant_client import models

from docrag.errors import InvalidRecord, ServerRefused
from docrag.store.layout import page_name
from docrag.store.server.connection import Connection
from docrag.store.server.failures import BUSY, TOO_LARGE
from docrag.store.server.key_order import KeyOrder
from docrag.store.server.known_limits import KnownLimits
from docrag.store.server.limits import CollectionLimits
from docrag.store.server.wire import MAX_REQUEST_BYTES, Condition, PackedPoint, batches
from docrag.types import PageRecord

logger = logging.getLogger(__name__)


class Uploader:
    """Sends pages in batches, and learns from refusals how large these may be.

    Args:
        connection: To the server; it may go on to another machine of a cluster.
        write: Makes a write request that the server must have applied when it returns.
        limits: The limits of the collection.
        key_order: Puts the keys of payloads in order afterwards; None if they are stored in order.
    """

    def __init__(
        self,
        connection: Connection,
        write: Callable[[Callable[[], models.UpdateStatus]], None],
        limits: KnownLimits,
        key_order: KeyOrder | None,
    ) -> None:
        self.max_bytes = MAX_REQUEST_BYTES
        """Bytes of one request; it sinks when the server refuses as many."""
        self._connection = connection
        self._write = write
        self._limits = limits
        self._key_order = key_order

    def send(
        self, collection: str, records: Sequence[PageRecord], condition: Condition | None = None
    ) -> None:
        """Write pages, or those of them that meet a condition.

        Raises:
            InvalidRecord: A single page exceeds a limit; some of the others may have been written.
            ServerUnreachable: The server does not answer; some of the pages may have been written.
            ServerRefused: The server does not accept them.
        """
        for batch in batches(map(self._connection.wire.pack, records), self.max_bytes):
            self._send(collection, batch, condition)

    def _send(self, collection: str, batch: Sequence[PackedPoint], condition: Condition | None) -> None:
        """Write a batch, split as often as the server, or a proxy before it, finds it too large."""
        waiting = [batch]
        while waiting:
            points = waiting.pop()
            size = sum(point.size for point in points)
            middle = len(points) // 2
            limits = self._limits.current
            most = limits.upsert_batch or len(points)
            if middle and (size > self.max_bytes or len(points) > most):
                logger.info("splitting a batch of %d pages, %d bytes", len(points), size)
                waiting += [points[middle:], points[:middle]]
                continue
            try:
                self._write(partial(self._connection.wire.send, collection, points, condition))
            except ServerRefused as refused:
                self._learn_from(refused, points, size, limits)
                waiting.append(points)
            else:
                if self._key_order:
                    self._key_order.restore(collection, [point.record for point in points])

    def _learn_from(
        self, refused: ServerRefused, points: Sequence[PackedPoint], size: int, limits: CollectionLimits
    ) -> None:
        """Note a limit that a batch exceeded, so that it can be sent again in parts.

        Raises:
            InvalidRecord: A single page exceeds a limit.
            ServerRefused: No limit explains the refusal.
        """
        if refused.status == TOO_LARGE:
            if len(points) == 1:
                name = page_name(points[0].record)
                raise InvalidRecord(f"{name}: {size} bytes, {refused.message}", refused.hint) from refused
            # A little more than half, since the two parts are not equally large.
            self.max_bytes = min(self.max_bytes, size * 6 // 10)
            logger.info("the server refused %d bytes: sending at most %d", size, self.max_bytes)
        elif refused.status == BUSY and len(points) > 1:  # more than the server's rate allows in a minute
            self._limits.write_at_most(len(points) // 2)
        else:
            # The limits may have been known when this batch was sent: then a page of it exceeds one.
            _require_records(points, limits)
            self._limits.learn_from(refused, limits)
            _require_records(points, self._limits.current)


def _require_records(points: Sequence[PackedPoint], limits: CollectionLimits) -> None:
    for point in points:
        limits.require_record(point.record)
