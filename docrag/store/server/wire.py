"""Pages on their way to a Qdrant server: a point as it is sent, its size in bytes, and the sending."""

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

from docrag.types import PageRecord, SparseVector, Vector

MOST_BYTES = 8 * 2**20
"""Bytes of one request: the server takes 32 MiB, and proxies before it often less."""

DIGITS = 5
"""Decimals that are sent as JSON: they cost 1.06 MB for a page of 1030 x 128 floats instead of 2.6, and
float16, in which multi-vectors are kept, is coarser."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A page, ready to be sent."""

    record: PageRecord
    point: Any
    """As the wire sends it."""
    size: int
    """Bytes."""


class Wire(Protocol):
    """A way of sending points."""

    def pack(self, record: PageRecord) -> Packed:
        """A page as it is sent."""
        ...

    def send(self, collection: str, batch: Sequence[Packed]) -> models.UpdateStatus:
        """Write points, and wait until they can be searched.

        A batch that is only acknowledged could still fail when it is applied, and nobody would hear of it.
        """
        ...


class _Written(BaseModel):
    """The answer to a write."""

    result: models.UpdateResult


class JsonWire:
    """Sends points by REST. The body is made here: the client's models would check every float one by one."""

    def __init__(self, client: QdrantClient) -> None:
        self._client = client

    def pack(self, record: PageRecord) -> Packed:
        """A point as JSON."""
        vectors = {name: _json_vector(vector) for name, vector in record.vectors.items()}
        point = {"id": record.id, "vector": vectors, "payload": dict(record.payload)}
        content = orjson.dumps(point, option=orjson.OPT_SERIALIZE_NUMPY)
        return Packed(record, content, len(content) + 1)

    def send(self, collection: str, batch: Sequence[Packed]) -> models.UpdateStatus:
        """Write points, and wait until they can be searched."""
        body = b'{"points":[' + b",".join(packed.point for packed in batch) + b"]}"
        written = self._client.http.client.request(
            type_=_Written,
            method="PUT",
            url="/collections/{collection_name}/points",
            path_params={"collection_name": collection},
            params={"wait": "true"},
            headers={"Content-Type": "application/json"},
            content=body,
        )
        return written.result.status


class GrpcWire:
    """Sends points by gRPC.

    Args:
        client: That has gRPC.
        timeout: Seconds for one request.
    """

    def __init__(self, client: QdrantClient, timeout: int) -> None:
        self._client = client
        self._timeout = timeout

    def pack(self, record: PageRecord) -> Packed:
        """A point as a protobuf message."""
        vectors = {name: _proto_vector(vector) for name, vector in record.vectors.items()}
        point = proto.PointStruct(
            id=proto.PointId(uuid=record.id),
            vectors=proto.Vectors(vectors=proto.NamedVectors(vectors=vectors)),
            payload=RestToGrpc.convert_payload(dict(record.payload)),
        )
        return Packed(record, point, point.ByteSize() + 8)

    def send(self, collection: str, batch: Sequence[Packed]) -> models.UpdateStatus:
        """Write points, and wait until they can be searched."""
        points = [packed.point for packed in batch]
        request = proto.UpsertPoints(collection_name=collection, wait=True, points=points)
        answer = self._client.grpc_points.Upsert(request, timeout=self._timeout)
        completed = answer.result.status == proto.UpdateStatus.Completed
        return models.UpdateStatus.COMPLETED if completed else models.UpdateStatus.ACKNOWLEDGED


class ModelWire:
    """Gives points to the client as its own models, for its local mode."""

    def __init__(self, client: QdrantClient) -> None:
        self._client = client

    def pack(self, record: PageRecord) -> Packed:
        """A point as the client's model; the size is that of its floats."""
        vectors = {name: _model_vector(vector) for name, vector in record.vectors.items()}
        size = sum(vector.nbytes for vector in record.vectors.values() if isinstance(vector, np.ndarray))
        return Packed(
            record, models.PointStruct(id=record.id, vector=vectors, payload=dict(record.payload)), size
        )

    def send(self, collection: str, batch: Sequence[Packed]) -> models.UpdateStatus:
        """Write points."""
        return self._client.upsert(collection, [packed.point for packed in batch]).status


def batches(points: Iterable[Packed], most: int) -> Iterator[list[Packed]]:
    """Points in requests of at most so many bytes each; one that is larger alone goes alone."""
    batch: list[Packed] = []
    size = 0
    for packed in points:
        if batch and size + packed.size > most:
            yield batch
            batch, size = [], 0
        batch.append(packed)
        size += packed.size
    if batch:
        yield batch


def record_of(found: models.Record) -> PageRecord:
    """A record as the client gives it."""
    named = found.vector if isinstance(found.vector, dict) else {}
    vectors = {name: _vector_of(vector) for name, vector in named.items()}
    return PageRecord(str(found.id), vectors, found.payload or {})


def _vector_of(value: Any) -> Vector:
    if isinstance(value, models.SparseVector):
        return SparseVector(tuple(value.indices), tuple(value.values))
    return np.asarray(value, np.float32)


def _json_vector(vector: Vector) -> Any:
    if isinstance(vector, SparseVector):
        return {"indices": vector.indices, "values": vector.values}
    # A dense vector is short, and may be of any length.
    return np.ascontiguousarray(vector if vector.ndim == 1 else np.round(vector, DIGITS), np.float32)


def _model_vector(vector: Vector) -> Any:
    if isinstance(vector, SparseVector):
        return models.SparseVector(indices=list(vector.indices), values=list(vector.values))
    return vector.tolist()


def _proto_vector(vector: Vector) -> Any:
    if isinstance(vector, SparseVector):
        return proto.Vector(sparse=proto.SparseVector(indices=vector.indices, values=vector.values))
    if vector.ndim == 1:
        return proto.Vector(dense=proto.DenseVector(data=vector.tolist()))
    return proto.Vector(multi_dense=multi_dense(vector))


def multi_dense(vectors: NDArray[np.float32]) -> Any:
    """(n, dim) floats as the message MultiDenseVector.

    Its bytes are written by numpy and read by protobuf: 20 times as fast as by lists of Python floats.
    Each row is `vectors = 1` of that message, in it `data = 1`, packed little-endian floats.
    """
    data = np.ascontiguousarray(vectors, "<f4").view(np.uint8)
    floats = b"\x0a" + _varint(data.shape[1])
    head = np.frombuffer(b"\x0a" + _varint(len(floats) + data.shape[1]) + floats, np.uint8)
    rows = np.concatenate([np.broadcast_to(head, (len(data), len(head))), data], axis=1)
    return proto.MultiDenseVector.FromString(rows.tobytes())


def _varint(number: int) -> bytes:
    """A length as protobuf writes it: seven bits a byte, the last one first."""
    told = bytearray()
    while number > 127:
        told.append(number & 127 | 128)
        number >>= 7
    return bytes([*told, number])
