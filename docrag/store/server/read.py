"""How pages are read from a Qdrant server, by REST or by gRPC: queries, pages by their ids, and all pages.

A reader makes one request, and its errors are those of the client. Vectors go past the client's own classes,
which hold lists of Python floats (`docrag.store.server.vectors`).

A server compresses its answers for clients that accept this, but floats do not shrink: ten pages of 300 x 384
took 1,043 ms by gRPC, of which 800 were spent on gzip. gRPC is told to accept no compression at all
(`CHANNEL_OPTIONS` of the connection). By REST, answers without vectors stay compressed: they are text, which
shrinks to a third, and a server may be far away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import orjson
from pydantic import BaseModel
from qdrant_client import QdrantClient
from qdrant_client import grpc as proto
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

from docrag.store.requests import PayloadFilter, QueryRequest
from docrag.store.server.translate import filter_json, filter_message, query_body, query_points
from docrag.store.server.vectors import from_json, from_message
from docrag.types import PageRecord, ScoredId

Response = TypeVar("Response", bound=BaseModel)


class Selection(NamedTuple):
    """What is read of each page."""

    vectors: tuple[str, ...] = ()
    """Names of vectors."""
    payload: tuple[str, ...] | None = ()
    """Keys of the payload, nested ones with dots; None reads all."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing but the ids is read."""
        return not self.vectors and self.payload == ()


class Step(NamedTuple):
    """The pages of one step of a scroll."""

    records: list[PageRecord]
    offset: Any
    """Where to continue, as the reader takes it; None at the end."""


class Reader(Protocol):
    """A way of reading pages."""

    def query(
        self, collection: str, requests: Sequence[QueryRequest], selection: Selection
    ) -> list[list[ScoredId]]:
        """Answer several queries; for each a list of pages with what is selected of them, best first."""
        ...

    def retrieve(self, collection: str, ids: Sequence[str], selection: Selection) -> list[PageRecord]:
        """Read pages by their ids, in any order."""
        ...

    def scroll(
        self, collection: str, filter: PayloadFilter | None, selection: Selection, limit: int, offset: Any
    ) -> Step:
        """Read at most `limit` of the pages that match, from an offset on; None begins."""
        ...


class _Batches(BaseModel):
    class Points(BaseModel):
        points: list[dict[str, Any]]

    result: list[Points]


class _Points(BaseModel):
    result: list[dict[str, Any]]


class _Scroll(BaseModel):
    class Points(BaseModel):
        points: list[dict[str, Any]]
        next_page_offset: Any = None

    result: Points


class JsonReader:
    """Reads pages by REST."""

    def __init__(self, client: QdrantClient) -> None:
        self._client = client

    def query(
        self, collection: str, requests: Sequence[QueryRequest], selection: Selection
    ) -> list[list[ScoredId]]:
        """Answer several queries; for each a list of pages with what is selected of them, best first."""
        selectors = _selectors_json(selection)
        searches = [query_body(request) | selectors for request in requests]
        response = self._post(_Batches, collection, "query/batch", {"searches": searches}, selection)
        return [[_scored_from_json(point, selection) for point in batch.points] for batch in response.result]

    def retrieve(self, collection: str, ids: Sequence[str], selection: Selection) -> list[PageRecord]:
        """Read pages by their ids, in any order."""
        body = {"ids": list(ids)} | _selectors_json(selection)
        return list(map(record_from_json, self._post(_Points, collection, "", body, selection).result))

    def scroll(
        self, collection: str, filter: PayloadFilter | None, selection: Selection, limit: int, offset: Any
    ) -> Step:
        """Read at most `limit` of the pages that match, from an offset on; None begins."""
        body = {"limit": limit} | _selectors_json(selection)
        if filter is not None:
            body["filter"] = filter_json(filter)
        if offset is not None:
            body["offset"] = offset
        response = self._post(_Scroll, collection, "scroll", body, selection)
        return Step(list(map(record_from_json, response.result.points)), response.result.next_page_offset)

    def _post(
        self,
        kind: type[Response],
        collection: str,
        path: str,
        body: Mapping[str, Any],
        selection: Selection,
    ) -> Response:
        headers = {"Content-Type": "application/json"}
        if selection.vectors:
            headers["Accept-Encoding"] = "identity"
        response: Response = self._client.http.client.request(
            type_=kind,
            method="POST",
            url="/collections/{collection_name}/points" + (f"/{path}" if path else ""),
            path_params={"collection_name": collection},
            headers=headers,
            content=orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY),
        )
        return response


class GrpcReader:
    """Reads pages by gRPC.

    Args:
        client: With gRPC enabled.
        timeout: Seconds for one request.
    """

    def __init__(self, client: QdrantClient, timeout: int) -> None:
        self._client = client
        self._timeout = timeout

    def query(
        self, collection: str, requests: Sequence[QueryRequest], selection: Selection
    ) -> list[list[ScoredId]]:
        """Answer several queries; for each a list of pages with what is selected of them, best first."""
        selectors = _selector_messages(selection)
        message = proto.QueryBatchPoints(
            collection_name=collection,
            query_points=[query_points(request, collection, **selectors) for request in requests],
        )
        response = self._client.grpc_points.QueryBatch(message, timeout=self._timeout)
        return [
            [_scored_from_message(point, selection) for point in batch.result] for batch in response.result
        ]

    def retrieve(self, collection: str, ids: Sequence[str], selection: Selection) -> list[PageRecord]:
        """Read pages by their ids, in any order."""
        message = proto.GetPoints(
            collection_name=collection,
            ids=[proto.PointId(uuid=id) for id in ids],
            **_selector_messages(selection),
        )
        response = self._client.grpc_points.Get(message, timeout=self._timeout)
        return list(map(record_from_message, response.result))

    def scroll(
        self, collection: str, filter: PayloadFilter | None, selection: Selection, limit: int, offset: Any
    ) -> Step:
        """Read at most `limit` of the pages that match, from an offset on; None begins."""
        message = proto.ScrollPoints(
            collection_name=collection,
            filter=None if filter is None else filter_message(filter),
            limit=limit,
            offset=offset,
            **_selector_messages(selection),
        )
        response = self._client.grpc_points.Scroll(message, timeout=self._timeout)
        following = response.next_page_offset if response.HasField("next_page_offset") else None
        return Step(list(map(record_from_message, response.result)), following)


def _selectors_json(selection: Selection) -> dict[str, Any]:
    return {
        "with_payload": _payload_selector(selection),
        "with_vector": list(selection.vectors) or False,
    }


def _selector_messages(selection: Selection) -> dict[str, Any]:
    return {
        "with_payload": RestToGrpc.convert_with_payload_interface(_payload_selector(selection)),
        "with_vectors": RestToGrpc.convert_with_vectors(list(selection.vectors) or False),
    }


def _payload_selector(selection: Selection) -> bool | list[str]:
    """Return what Qdrant takes as `with_payload`: True for all, False for none, or a list of keys."""
    return True if selection.payload is None else list(selection.payload) or False


def _scored_from_json(point: Mapping[str, Any], selection: Selection) -> ScoredId:
    record = None if selection.is_empty else record_from_json(point)
    return ScoredId(str(point["id"]), point["score"], record)


def record_from_json(point: Mapping[str, Any]) -> PageRecord:
    """Turn a point that was read from JSON into a record."""
    vectors = {name: from_json(vector) for name, vector in (point.get("vector") or {}).items()}
    return PageRecord(str(point["id"]), vectors, point.get("payload") or {})


def _scored_from_message(point: Any, selection: Selection) -> ScoredId:
    record = None if selection.is_empty else record_from_message(point)
    return ScoredId(_id_from_message(point.id), point.score, record)


def record_from_message(point: Any) -> PageRecord:
    """Turn the protobuf message RetrievedPoint or ScoredPoint into a record."""
    named = point.vectors.vectors.vectors
    vectors = {name: from_message(named[name]) for name in named}
    return PageRecord(_id_from_message(point.id), vectors, GrpcToRest.convert_payload(point.payload))


def _id_from_message(id: Any) -> str:
    """Return the id of a point; docrag's are UUIDs, and whoever adds other points may use numbers."""
    return id.uuid or str(id.num)
