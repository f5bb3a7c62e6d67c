"""Payloads with their keys in order, also where points are sent by gRPC.

In protobuf a payload is a map, and maps have no order: the server stores the keys of each point in another
random order, and so the dashboard shows them. JSON keeps the order, so after a write by gRPC the payloads,
which are small, are written again by REST. The first write already holds the whole payload: if the second
does not come, only the order is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import orjson
from pydantic import BaseModel
from qdrant_client import QdrantClient, models

from docrag.common.time_limit import time_limit
from docrag.errors import ServerRefused, ServerUnreachable
from docrag.store.layout import page_name
from docrag.store.payload import HELD_BY, in_order
from docrag.store.server.failures import BAD_REQUEST, BUSY, TOO_LARGE
from docrag.store.server.wire import MAX_REQUEST_BYTES, PackedPoint, batches
from docrag.types import PageRecord

logger = logging.getLogger(__name__)

MAX_OPERATIONS = 128
"""Payloads in one request: the server takes each as a write of its own and answers after the last."""

_SOURCES = "sources"


_SPLIT_WHEN = (BAD_REQUEST, TOO_LARGE, BUSY)
"""Refusals after which a part of the batch may be accepted."""
_MOST_REFUSALS = 3
"""How many single pages may be refused until no more are tried."""


class _BatchResponse(BaseModel):
    """The response to several writes."""

    result: list[models.UpdateResult]


ORDER_SECONDS = 30.0
"""Seconds for the order of the payloads of one request, which is not worth a longer wait."""


class KeyOrder:
    """Writes payloads by REST in the order in which people read them.

    Args:
        client: With REST.
        write: Makes a write request, and makes it again where that may help; `ServerStore` has such a method.
    """

    def __init__(
        self, client: QdrantClient, write: Callable[[Callable[[], models.UpdateStatus]], None]
    ) -> None:
        self._client = client
        self._write = write
        self._max_bytes = MAX_REQUEST_BYTES
        self._refused = False
        self._refusals = 0

    def restore(self, collection: str, records: Sequence[PageRecord]) -> None:
        """Write the payloads of points that were written by gRPC just now.

        A point whose holders or files another machine has changed since then is left as it is. A failure is
        logged and is no error, since nothing but the order is lost.

        Args:
            collection: The collection or alias.
            records: The points as they were sent.
        """
        operations = [_packed(record) for record in records]
        try:
            with time_limit(ORDER_SECONDS):
                for batch in _batches(operations, self._max_bytes):
                    self._send(collection, batch)
        except ServerUnreachable as error:
            logger.warning("the payload keys of %d pages have no order: %s", len(records), error.message)

    def _send(self, collection: str, batch: list[PackedPoint]) -> None:
        """Write a batch, split as often as the server, or a proxy before it, finds it too large."""
        waiting = [batch]
        while waiting and not self._refused:
            operations = waiting.pop()
            try:
                self._write(partial(self._overwrite, collection, operations))
            except ServerRefused as refused:
                middle = len(operations) // 2
                if refused.status not in _SPLIT_WHEN:
                    self._give_up(collection, refused)
                elif middle:
                    waiting += [operations[middle:], operations[:middle]]
                    self._note_size(refused, operations)
                else:
                    self._count_refusal(collection, operations[0].record, refused)

    def _note_size(self, refused: ServerRefused, operations: Sequence[PackedPoint]) -> None:
        if refused.status != BAD_REQUEST:
            size = sum(operation.size for operation in operations)
            self._max_bytes = min(self._max_bytes, max(1, size * 6 // 10))

    def _count_refusal(self, collection: str, record: PageRecord, refused: ServerRefused) -> None:
        """Pass over a page that the server does not accept; give up if this happens to several."""
        self._refusals += 1
        logger.warning("the payload keys of %s have no order: %s", page_name(record), refused.message)
        if self._refusals >= _MOST_REFUSALS:
            self._give_up(collection, refused)

    def _give_up(self, collection: str, refused: ServerRefused) -> None:
        self._refused = True
        logger.warning(
            "payload keys have no order in %s, since REST refuses to write them: %s",
            collection,
            refused.message,
        )

    def _overwrite(self, collection: str, operations: Sequence[PackedPoint]) -> models.UpdateStatus:
        body = b'{"operations":[' + b",".join(packed.point for packed in operations) + b"]}"
        response = self._client.http.client.request(
            type_=_BatchResponse,
            method="POST",
            url="/collections/{collection_name}/points/batch",
            path_params={"collection_name": collection},
            # All replicas of a shard must decide in the same order whether a point is still as it was sent.
            params={"wait": "true", "ordering": "medium"},
            headers={"Content-Type": "application/json"},
            content=body,
        )
        statuses = {result.status for result in response.result}
        return next(iter(statuses - {models.UpdateStatus.COMPLETED}), models.UpdateStatus.COMPLETED)


def _batches(operations: Sequence[PackedPoint], max_bytes: int) -> Iterator[list[PackedPoint]]:
    for batch in batches(operations, max_bytes):
        for start in range(0, len(batch), MAX_OPERATIONS):
            yield batch[start : start + MAX_OPERATIONS]


def _packed(record: PageRecord) -> PackedPoint:
    """Return the operation that overwrites a payload, as JSON."""
    operation = {"payload": in_order(record.payload), "filter": _as_sent(record)}
    content = orjson.dumps({"overwrite_payload": operation})
    return PackedPoint(record, content, len(content) + 1)  # and a comma


def _as_sent(record: PageRecord) -> dict[str, Any]:
    """Return a filter for the point, if it still names the holders and files with which it was sent.

    Other machines change these two between the writes, and what they wrote must stay.
    """
    must: list[Any] = [{"has_id": [record.id]}]
    must_not: list[Any] = []
    metadata = record.payload.get("metadata")
    shared = {HELD_BY: record.payload.get(HELD_BY)}
    if isinstance(metadata, Mapping):
        shared[f"metadata.{_SOURCES}"] = metadata.get(_SOURCES)
    for key, values in shared.items():
        if isinstance(values, Sequence) and values:
            must += [{"key": key, "match": {"value": value}} for value in values]
            must_not.append({"key": key, "match": {"except": list(values)}})
    return {"must": must, "must_not": must_not}
