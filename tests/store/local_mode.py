"""A `Connection` to qdrant-client's local mode: no server, the same methods, far slower than qdrant-edge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from qdrant_client import QdrantClient, models

from docrag.store.requests import PayloadFilter, QueryRequest
from docrag.store.server.address import Address
from docrag.store.server.connection import Connection, parse_version
from docrag.store.server.read import Selection, Step, record_from_json
from docrag.store.server.translate import query_body, to_filter
from docrag.store.server.wire import Condition, PackedPoint
from docrag.types import PageRecord, ScoredId, SparseVector, Vector


class ModelWire:
    """Passes points to the client as its own models."""

    keeps_order = True

    def __init__(self, client: QdrantClient | None) -> None:
        self._client = client
        self.reader = ModelReader(client)

    def pack(self, record: PageRecord) -> PackedPoint:
        """The size is that of the floats alone."""
        vectors = {name: _model_vector(vector) for name, vector in record.vectors.items()}
        size = sum(vector.nbytes for vector in record.vectors.values() if isinstance(vector, np.ndarray))
        point = models.PointStruct(id=record.id, vector=vectors, payload=dict(record.payload))
        return PackedPoint(record, point, size)

    def send(
        self, collection: str, batch: Sequence[PackedPoint], condition: Condition | None = None
    ) -> models.UpdateStatus:
        points = [point.point for point in batch]
        if condition is None:
            return self._client.upsert(collection, points).status
        mode = models.UpdateMode.UPDATE_ONLY if condition.update_only else None
        return self._client.upsert(
            collection, points, update_filter=condition.matches, update_mode=mode
        ).status


class ModelReader:
    """Reads points as the client's own models."""

    def __init__(self, client: QdrantClient | None) -> None:
        self._client = client

    def query(
        self, collection: str, requests: Sequence[QueryRequest], selection: Selection
    ) -> list[list[ScoredId]]:
        queries = [to_model(request) for request in requests]
        for query in queries:
            query.with_payload, query.with_vector = _selectors(selection)
        answers = self._client.query_batch_points(collection, queries)
        return [
            [
                ScoredId(str(point.id), point.score, None if selection.is_empty else _to_record(point))
                for point in answer.points
            ]
            for answer in answers
        ]

    def retrieve(self, collection: str, ids: Sequence[str], selection: Selection) -> list[PageRecord]:
        payload, vectors = _selectors(selection)
        return list(map(_to_record, self._client.retrieve(collection, list(ids), payload, vectors)))

    def scroll(
        self, collection: str, filter: PayloadFilter | None, selection: Selection, limit: int, offset: Any
    ) -> Step:
        payload, vectors = _selectors(selection)
        points, following = self._client.scroll(
            collection, to_filter(filter), limit, offset=offset, with_payload=payload, with_vectors=vectors
        )
        return Step(list(map(_to_record, points)), following)


def to_model(request: QueryRequest) -> models.QueryRequest:
    body = orjson.dumps(query_body(request), option=orjson.OPT_SERIALIZE_NUMPY)
    return models.QueryRequest.model_validate_json(body)


def _selectors(selection: Selection) -> tuple[bool | list[str], bool | list[str]]:
    payload = True if selection.payload is None else list(selection.payload) or False
    return payload, list(selection.vectors) or False


def _to_record(point: models.Record | models.ScoredPoint) -> PageRecord:
    return record_from_json(point.model_dump())


def _model_vector(vector: Vector) -> Any:
    if isinstance(vector, SparseVector):
        return models.SparseVector(indices=list(vector.indices), values=list(vector.values))
    return vector.tolist()


def local_connection(collection: str, client: QdrantClient | None = None) -> Connection:
    """A connection to a client in local mode, a new one unless it is given."""
    client = client or QdrantClient(":memory:")
    address = Address("memory", "memory", 0, collection)
    return Connection(address, client, ModelWire(client), parse_version(client.info().version))
