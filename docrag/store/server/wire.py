"""How pages are sent to a Qdrant server: JSON by REST or protobuf by gRPC, in batches limited by bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from pydantic import BaseModel
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as proto
from qdrant_client.conversions.conversion import RestToGrpc

from docrag.store.payload import in_order
from docrag.store.server.read import GrpcReader, JsonReader, Reader
from docrag.store.server.vectors import stored_json, stored_message
from docrag.types import PageRecord

MAX_REQUEST_BYTES = 8 * 2**20
"""Bytes of one request: the server accepts 32 MiB, but proxies before it often less."""


@dataclass(frozen=True, slots=True)
class PackedPoint:
    """A page in the form in which it is sent."""

    record: PageRecord
    point: Any
    """What the wire sends: bytes of JSON, or a protobuf message."""
    size: int
    """In bytes."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What the server checks for each point before it writes it; a point that fails is left as it is."""

    matches: models.Filter
    """What the payload of a point that exists must match; it does not apply to new points."""
    update_only: bool = False
    """Whether points that do not exist are left out, which servers before 1.17 cannot do."""


class Wire(Protocol):
    """A way of sending points, with one of reading them."""

    @property
    def reader(self) -> Reader:
        """How pages are read."""
        ...

    keeps_order: bool
    """Whether the keys of payloads are stored in the order in which they are sent."""

    def pack(self, record: PageRecord) -> PackedPoint:
        """Turn a page into the form in which it is sent."""
        ...

    def send(
        self, collection: str, batch: Sequence[PackedPoint], condition: Condition | None = None
    ) -> models.UpdateStatus:
        """Write points, or those that meet a condition, and wait until they can be searched.

        A batch that is only acknowledged could still fail when it is applied, without any error here.
        """
        ...


class _WriteResponse(BaseModel):
    """The response to a write."""

    result: models.UpdateResult


class JsonWire:
    """Sends points by REST. The body is built here: the client's models would validate every single float."""

    keeps_order = True

    def __init__(self, client: QdrantClient) -> None:
        self._client = client
        self.reader: Reader = JsonReader(client)

    def pack(self, record: PageRecord) -> PackedPoint:
        """Turn a page into a point in JSON."""
        vectors = {name: stored_json(vector) for name, vector in record.vectors.items()}
        point = {"id": record.id, "vector": vectors, "payload": in_order(record.payload)}
        content = orjson.dumps(point, option=orjson.OPT_SERIALIZE_NUMPY)
        return PackedPoint(record, content, len(content) + 1)  # and a comma

    def send(
        self, collection: str, batch: Sequence[PackedPoint], condition: Condition | None = None
    ) -> models.UpdateStatus:
        """Write points, or those that meet a condition, and wait until they can be searched."""
        body = (
            b'{"points":[' + b",".join(packed.point for packed in batch) + b"]" + _json_condition(condition)
        )
        response = self._client.http.client.request(
            type_=_WriteResponse,
            method="PUT",
            url="/collections/{collection_name}/points",
            path_params={"collection_name": collection},
            params={"wait": "true", **({"ordering": "medium"} if condition else {})},
            headers={"Content-Type": "application/json"},
            content=body,
        )
        return response.result.status


class GrpcWire:
    """Sends points by gRPC.

    Args:
        client: With gRPC enabled.
        timeout: Seconds for one request.
    """

    keeps_order = False

    def __init__(self, client: QdrantClient, timeout: int) -> None:
        self._client = client
        self._timeout = timeout
        self.reader: Reader = GrpcReader(client, timeout)

    def pack(self, record: PageRecord) -> PackedPoint:
        """Turn a page into a protobuf message."""
        vectors = {name: stored_message(vector) for name, vector in record.vectors.items()}
        point = proto.PointStruct(
            id=proto.PointId(uuid=record.id),
            vectors=proto.Vectors(vectors=proto.NamedVectors(vectors=vectors)),
            payload=RestToGrpc.convert_payload(dict(record.payload)),
        )
        return PackedPoint(record, point, point.ByteSize() + 8)  # and the header of the field

    def send(
        self, collection: str, batch: Sequence[PackedPoint], condition: Condition | None = None
    ) -> models.UpdateStatus:
        """Write points, or those that meet a condition, and wait until they can be searched."""
        points = [packed.point for packed in batch]
        request = proto.UpsertPoints(collection_name=collection, wait=True, points=points)
        if condition:
            request.update_filter.CopyFrom(RestToGrpc.convert_filter(condition.matches))
            # Every replica of a shard must decide about competing writes in the same order.
            request.ordering.type = proto.WriteOrderingType.Medium
            if condition.update_only:
                request.update_mode = proto.UpdateMode.UpdateOnly
        response = self._client.grpc_points.Upsert(request, timeout=self._timeout)
        completed = response.result.status == proto.UpdateStatus.Completed
        return models.UpdateStatus.COMPLETED if completed else models.UpdateStatus.ACKNOWLEDGED


def _json_condition(condition: Condition | None) -> bytes:
    """Return the end of the body of a write in JSON."""
    if condition is None:
        return b"}"
    fields: dict[str, Any] = {
        "update_filter": condition.matches.model_dump(mode="json", by_alias=True, exclude_none=True)
    }
    if condition.update_only:
        fields["update_mode"] = "update_only"
    return b"," + orjson.dumps(fields)[1:]


def batches(points: Iterable[PackedPoint], max_bytes: int) -> Iterator[list[PackedPoint]]:
    """Group points into requests of at most `max_bytes`; a larger point gets a request of its own."""
    batch: list[PackedPoint] = []
    size = 0
    for point in points:
        if batch and size + point.size > max_bytes:
            yield batch
            batch = []
            size = 0
        batch.append(point)
        size += point.size
    if batch:
        yield batch
