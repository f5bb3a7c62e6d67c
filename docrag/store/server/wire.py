"""How pages are sent to a Qdrant server: JSON by REST or protobuf by gRPC, in batches limited by bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as proto
from qdrant_client.conversions.conversion import RestToGrpc

from docrag.store.payload import in_order
from docrag.types import PageRecord, SparseVector, Vector

MAX_REQUEST_BYTES = 8 * 2**20
"""Bytes of one request: the server accepts 32 MiB, but proxies before it often less."""

DIGITS = 5
"""Decimals of a number in JSON: a page of 1030 x 128 floats takes 1.06 MB instead of 2.6, and float16, in
which multi-vectors are stored, is coarser."""


@dataclass(frozen=True, slots=True)
class PackedPoint:
    """A page in the form in which it is sent."""

    record: PageRecord
    point: Any
    """What the wire sends: bytes of JSON, or a protobuf message."""
    size: int
    """In bytes."""


class Wire(Protocol):
    """A way of sending points."""

    keeps_order: bool
    """Whether the keys of payloads are stored in the order in which they are sent."""

    def pack(self, record: PageRecord) -> PackedPoint:
        """Turn a page into the form in which it is sent."""
        ...

    def send(self, collection: str, batch: Sequence[PackedPoint]) -> models.UpdateStatus:
        """Write points and wait until they can be searched.

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

    def pack(self, record: PageRecord) -> PackedPoint:
        """Turn a page into a point in JSON."""
        vectors = {name: _json_vector(vector) for name, vector in record.vectors.items()}
        point = {"id": record.id, "vector": vectors, "payload": in_order(record.payload)}
        content = orjson.dumps(point, option=orjson.OPT_SERIALIZE_NUMPY)
        return PackedPoint(record, content, len(content) + 1)  # and a comma

    def send(self, collection: str, batch: Sequence[PackedPoint]) -> models.UpdateStatus:
        """Write points and wait until they can be searched."""
        body = b'{"points":[' + b",".join(packed.point for packed in batch) + b"]}"
        response = self._client.http.client.request(
            type_=_WriteResponse,
            method="PUT",
            url="/collections/{collection_name}/points",
            path_params={"collection_name": collection},
            params={"wait": "true"},
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

    def pack(self, record: PageRecord) -> PackedPoint:
        """Turn a page into a protobuf message."""
        vectors = {name: _proto_vector(vector) for name, vector in record.vectors.items()}
        point = proto.PointStruct(
            id=proto.PointId(uuid=record.id),
            vectors=proto.Vectors(vectors=proto.NamedVectors(vectors=vectors)),
            payload=RestToGrpc.convert_payload(dict(record.payload)),
        )
        return PackedPoint(record, point, point.ByteSize() + 8)  # and the header of the field

    def send(self, collection: str, batch: Sequence[PackedPoint]) -> models.UpdateStatus:
        """Write points and wait until they can be searched."""
        points = [packed.point for packed in batch]
        request = proto.UpsertPoints(collection_name=collection, wait=True, points=points)
        response = self._client.grpc_points.Upsert(request, timeout=self._timeout)
        completed = response.result.status == proto.UpdateStatus.Completed
        return models.UpdateStatus.COMPLETED if completed else models.UpdateStatus.ACKNOWLEDGED


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


def to_record(point: models.Record) -> PageRecord:
    """Turn a point that the client read into a record."""
    named = point.vector if isinstance(point.vector, dict) else {}
    vectors = {name: _to_vector(vector) for name, vector in named.items()}
    return PageRecord(str(point.id), vectors, point.payload or {})


def _to_vector(value: Any) -> Vector:
    if isinstance(value, models.SparseVector):
        return SparseVector(tuple(value.indices), tuple(value.values))
    return np.asarray(value, np.float32)


def _json_vector(vector: Vector) -> Any:
    if isinstance(vector, SparseVector):
        return {"indices": vector.indices, "values": vector.values}
    # Dense vectors are short, and their numbers may be of any magnitude, so only multi-vectors are rounded.
    return np.ascontiguousarray(vector if vector.ndim == 1 else np.round(vector, DIGITS), np.float32)


def _proto_vector(vector: Vector) -> Any:
    if isinstance(vector, SparseVector):
        return proto.Vector(sparse=proto.SparseVector(indices=vector.indices, values=vector.values))
    if vector.ndim == 1:
        return proto.Vector(dense=proto.DenseVector(data=vector.tolist()))
    return proto.Vector(multi_dense=multi_dense(vector))


def multi_dense(vectors: NDArray[np.float32]) -> Any:
    """Turn (n, dim) floats into the protobuf message MultiDenseVector.

    numpy writes the bytes of the message and protobuf parses them, which is 20 times as fast as passing lists
    of Python floats. Each row is field 1 (`vectors`) of the message, and in it field 1 (`data`): packed
    little-endian floats.
    """
    data = np.ascontiguousarray(vectors, "<f4").view(np.uint8)
    floats = b"\x0a" + _varint(data.shape[1])
    head = np.frombuffer(b"\x0a" + _varint(len(floats) + data.shape[1]) + floats, np.uint8)
    rows = np.concatenate([np.broadcast_to(head, (len(data), len(head))), data], axis=1)
    return proto.MultiDenseVector.FromString(rows.tobytes())


def _varint(number: int) -> bytes:
    """Encode a length as protobuf does: seven bits per byte, the lowest first."""
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes([*encoded, number])
