"""A `Connection` to qdrant-client's local mode: no server, the same methods, far slower than qdrant-edge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models

from docrag.store.server.address import Address
from docrag.store.server.connection import Connection, parse_version
from docrag.store.server.wire import Condition, PackedPoint
from docrag.types import PageRecord, SparseVector, Vector


class ModelWire:
    """Passes points to the client as its own models."""

    keeps_order = True

    def __init__(self, client: QdrantClient | None) -> None:
        self._client = client

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


def _model_vector(vector: Vector) -> Any:
    if isinstance(vector, SparseVector):
        return models.SparseVector(indices=list(vector.indices), values=list(vector.values))
    return vector.tolist()


def local_connection(collection: str, client: QdrantClient | None = None) -> Connection:
    """A connection to a client in local mode, a new one unless it is given."""
    client = client or QdrantClient(":memory:")
    address = Address("memory", "memory", 0, collection)
    return Connection(address, client, ModelWire(client), parse_version(client.info().version))
