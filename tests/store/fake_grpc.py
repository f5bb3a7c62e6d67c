"""The same by gRPC: what FakeQdrant holds, behind the services of Qdrant's protobuf files.

Like the server, it gzips every answer for a client that accepts this, and it keeps the keys of payloads in
another order than they were sent, since they are maps in protobuf.
"""

from __future__ import annotations

import random
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as proto
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

from tests.store.strict_mode import Forbidden, Rules

GZIP_IF_ACCEPTED = ("grpc.default_compression_level", 1)
"""The lowest level is gzip if the client accepts it, and no compression if it does not."""

COMPLETED = proto.PointsOperationResponse(
    result=proto.UpdateResult(operation_id=1, status=proto.UpdateStatus.Completed)
)
DONE = proto.CollectionOperationResponse(result=True)


class FakeGrpc:
    """Serves points and collections of a client in local mode on a port of its own.

    Args:
        db: Where they are.
        faults: Status codes of the first upserts; None carries one out and says UNAVAILABLE.
        tls: Key and certificates, each as PEM, which encrypt it.
        flat: Whether vectors are answered as Qdrant 1.16 does, all rows in one list. Later versions answer
            with a message for each row.
        rules: What it refuses.
    """

    def __init__(
        self,
        db: QdrantClient,
        *faults: grpc.StatusCode | None,
        tls: tuple[bytes, bytes] | None = None,
        flat: bool = False,
        rules: Rules | None = None,
    ) -> None:
        rules = rules or Rules()
        self.faults = list(faults)
        self.words = "scripted"
        """The details of the faults."""
        self.upserts: list[proto.UpsertPoints] = []
        self.metadata: dict[str, str] = {}
        self._server = grpc.server(ThreadPoolExecutor(4), options=[GZIP_IF_ACCEPTED])
        self.port = (
            self._server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([tls]))
            if tls
            else self._server.add_insecure_port("127.0.0.1:0")
        )
        lock = threading.Lock()

        def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
            def respond(_: object, request: Any, context: grpc.ServicerContext) -> Any:
                self.metadata = dict(context.invocation_metadata())
                try:
                    with lock, warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # local mode says that it is no server
                        check_rules(rules, db, request)
                        return as_told(method(db, request), rules, flat=flat)
                except Forbidden as error:
                    context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
                except ValueError as error:
                    missing = str(error).endswith("not found")
                    code = grpc.StatusCode.NOT_FOUND if missing else grpc.StatusCode.INVALID_ARGUMENT
                    context.abort(code, str(error))

            return respond

        def upsert(db: QdrantClient, request: proto.UpsertPoints) -> Any:
            self.upserts.append(request)
            points = [GrpcToRest.convert_point_struct(point) for point in request.points]
            for point in points:
                point.payload = shuffled(point.payload)
            conditions = GrpcToRest.convert_filter(request.update_filter)
            mode = GrpcToRest.convert_update_mode(request.update_mode)
            db.upsert(
                request.collection_name,
                points,
                update_filter=conditions if request.HasField("update_filter") else None,
                update_mode=mode if request.HasField("update_mode") else None,
            )
            return COMPLETED

        def faulty(servicer: object, request: Any, context: grpc.ServicerContext) -> Any:
            if self.faults:
                code = self.faults.pop(0)
                if code is None:
                    guarded(upsert)(servicer, request, context)
                context.abort(code or grpc.StatusCode.UNAVAILABLE, self.words)
            return guarded(upsert)(servicer, request, context)

        points = type("Points", (proto.PointsServicer,), {n: guarded(m) for n, m in POINTS.items()})
        points.Upsert = faulty
        collections = type(
            "Collections", (proto.CollectionsServicer,), {n: guarded(m) for n, m in COLLECTIONS.items()}
        )
        health = type("Health", (proto.QdrantServicer,), {"HealthCheck": guarded(check)})
        proto.add_PointsServicer_to_server(points(), self._server)
        proto.add_CollectionsServicer_to_server(collections(), self._server)
        proto.add_QdrantServicer_to_server(health(), self._server)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()


def as_told(answer: Any, rules: Rules, flat: bool) -> Any:
    """An answer as a server tells it."""
    if isinstance(answer, models.CollectionInfo):
        told = RestToGrpc.convert_collection_info(rules.describe(answer))
        return proto.GetCollectionInfoResponse(result=told)
    if flat:
        flatten_vectors(answer)
    return answer


def check_rules(rules: Rules, db: QdrantClient, request: Any) -> None:
    """Refuse a request that the rules do not allow.

    Raises:
        Forbidden: The key does not allow it.
        ValueError: Strict mode does not.
    """
    operation, body = rest_of(request)
    rules.check(db, operation, getattr(request, "collection_name", ""), body)


def rest_of(request: Any) -> tuple[str, Any]:
    """What a key must allow for a request, and the request as a model of the client; None for some."""
    match request:
        case proto.QueryBatchPoints():
            searches = [GrpcToRest.convert_query_points(one) for one in request.query_points]
            return "read", models.QueryRequestBatch(searches=searches)
        case proto.ScrollPoints():
            return "read", models.ScrollRequest(limit=request.limit, filter=filter_of(request))
        case proto.CountPoints():
            return "read", models.CountRequest(filter=filter_of(request), exact=request.exact)
        case proto.FacetCounts():
            told = {"key": request.key, "limit": request.limit, "exact": request.exact}
            return "read", models.FacetRequest(filter=filter_of(request), **told)
        case proto.UpsertPoints():
            points = [GrpcToRest.convert_point_struct(point) for point in request.points]
            return "write", models.PointsList(points=points)
        case proto.SetPayloadPoints():
            chosen = GrpcToRest.convert_points_selector(request.points_selector)
            return "write", models.SetPayload(payload={}, filter=getattr(chosen, "filter", None))
        case proto.DeletePoints():
            return "write", GrpcToRest.convert_points_selector(request.points)
        case proto.CreateFieldIndexCollection():
            kind = proto.FieldType.Name(request.field_type).removeprefix("FieldType").lower()
            return "index", models.CreateFieldIndex(field_name=request.field_name, field_schema=kind)
        case (
            proto.CreateCollection()
            | proto.UpdateCollection()
            | proto.DeleteCollection()
            | proto.ChangeAliases()
        ):
            return "manage", None
    return "read", None


def check(db: QdrantClient, request: Any) -> Any:
    return proto.HealthCheckReply(title="qdrant - vector search engine", version="1.19.0")


def filter_of(request: Any) -> Any:
    return GrpcToRest.convert_filter(request.filter) if request.HasField("filter") else None


def payload_of(request: Any) -> Any:
    return GrpcToRest.convert_with_payload_selector(request.with_payload)


def vectors_of(request: Any) -> Any:
    if not request.HasField("with_vectors"):
        return False
    return GrpcToRest.convert_with_vectors_selector(request.with_vectors)


def record_of(record: models.Record) -> Any:
    return RestToGrpc.convert_record(with_shuffled_payload(record))


def scored_of(point: models.ScoredPoint) -> Any:
    return RestToGrpc.convert_scored_point(with_shuffled_payload(point))


def with_shuffled_payload(point: Any) -> Any:
    return point.model_copy(update={"payload": shuffled(point.payload or {})})


def shuffled(value: Any) -> Any:
    """The same value with the keys of all its dictionaries in another order."""
    if isinstance(value, list):
        return [shuffled(item) for item in value]
    if not isinstance(value, dict):
        return value
    keys = random.sample(sorted(value), len(value))
    return {key: shuffled(value[key]) for key in keys}


def flatten_vectors(answer: Any) -> None:
    """Turn the vectors of an answer into the form of Qdrant 1.16."""
    points = getattr(answer, "result", [])
    if isinstance(answer, proto.QueryBatchResponse):
        points = [point for batch in answer.result for point in batch.result]
    elif not isinstance(answer, proto.GetResponse | proto.ScrollResponse):
        return
    for point in points:
        for vector in point.vectors.vectors.vectors.values():
            flatten_vector(vector)


def flatten_vector(vector: Any) -> None:
    kind = vector.WhichOneof("vector")
    if kind == "dense":
        flat = proto.VectorOutput(data=vector.dense.data)
    elif kind == "sparse":
        flat = proto.VectorOutput(
            data=vector.sparse.values, indices=proto.SparseIndices(data=vector.sparse.indices)
        )
    else:
        rows = vector.multi_dense.vectors
        numbers = [number for row in rows for number in row.data]
        flat = proto.VectorOutput(data=numbers, vectors_count=len(rows))
    vector.CopyFrom(flat)


def create(db: QdrantClient, request: Any) -> Any:
    db.create_collection(
        request.collection_name,
        vectors_config=GrpcToRest.convert_vectors_config(request.vectors_config),
        sparse_vectors_config=GrpcToRest.convert_sparse_vector_config(request.sparse_vectors_config),
        metadata=GrpcToRest.convert_payload(request.metadata),
    )
    return DONE


def update(db: QdrantClient, request: Any) -> Any:
    db.update_collection(request.collection_name, metadata=GrpcToRest.convert_payload(request.metadata))
    return DONE


def get_info(db: QdrantClient, request: Any) -> Any:
    return db.get_collection(request.collection_name)


def list_collections(db: QdrantClient, request: Any) -> Any:
    return proto.ListCollectionsResponse(
        collections=[
            RestToGrpc.convert_collection_description(told) for told in db.get_collections().collections
        ]
    )


def list_aliases(db: QdrantClient, request: Any) -> Any:
    return proto.ListAliasesResponse(
        aliases=[RestToGrpc.convert_alias_description(told) for told in db.get_aliases().aliases]
    )


def change_aliases(db: QdrantClient, request: Any) -> Any:
    db.update_collection_aliases([GrpcToRest.convert_alias_operations(told) for told in request.actions])
    return DONE


def delete_collection(db: QdrantClient, request: Any) -> Any:
    db.delete_collection(request.collection_name)
    return DONE


def get(db: QdrantClient, request: Any) -> Any:
    found = db.retrieve(
        request.collection_name,
        [point.uuid for point in request.ids],
        with_payload=payload_of(request),
        with_vectors=vectors_of(request),
    )
    return proto.GetResponse(result=[record_of(record) for record in found])


def scroll(db: QdrantClient, request: Any) -> Any:
    found, offset = db.scroll(
        request.collection_name,
        filter_of(request),
        limit=request.limit,
        offset=request.offset.uuid if request.HasField("offset") else None,
        with_payload=payload_of(request),
        with_vectors=vectors_of(request),
    )
    following = proto.PointId(uuid=offset) if offset else None
    return proto.ScrollResponse(result=[record_of(record) for record in found], next_page_offset=following)


def count(db: QdrantClient, request: Any) -> Any:
    told = db.count(request.collection_name, filter_of(request), exact=request.exact)
    return proto.CountResponse(result=RestToGrpc.convert_count_result(told))


def set_payload(db: QdrantClient, request: Any) -> Any:
    values = shuffled(GrpcToRest.convert_payload(request.payload))
    chosen = GrpcToRest.convert_points_selector(request.points_selector)
    db.set_payload(request.collection_name, values, chosen, request.key or None)
    return COMPLETED


def update_batch(db: QdrantClient, request: Any) -> Any:
    for operation in request.operations:
        kind = operation.WhichOneof("operation")
        if kind != "set_payload":
            raise ValueError(f"the stand-in knows no {kind}")
        change = operation.set_payload
        chosen = GrpcToRest.convert_points_selector(change.points_selector)
        values = GrpcToRest.convert_payload(change.payload)
        db.set_payload(request.collection_name, values, chosen, change.key or None)
    done = proto.UpdateResult(operation_id=1, status=proto.UpdateStatus.Completed)
    return proto.UpdateBatchResponse(result=[done] * len(request.operations))


def delete(db: QdrantClient, request: Any) -> Any:
    db.delete(request.collection_name, GrpcToRest.convert_points_selector(request.points))
    return COMPLETED


def query_batch(db: QdrantClient, request: Any) -> Any:
    asked = [GrpcToRest.convert_query_points(one) for one in request.query_points]
    answers = db.query_batch_points(request.collection_name, asked)
    return proto.QueryBatchResponse(
        result=[proto.BatchResult(result=[scored_of(point) for point in answer.points]) for answer in answers]
    )


def facet(db: QdrantClient, request: Any) -> Any:
    found = db.facet(
        request.collection_name,
        request.key,
        facet_filter=filter_of(request),
        limit=request.limit,
        exact=request.exact,
    )
    return proto.FacetResponse(hits=[RestToGrpc.convert_facet_value_hit(hit) for hit in found.hits])


def make_index(db: QdrantClient, request: Any) -> Any:
    return COMPLETED


COLLECTIONS = {
    "Get": get_info,
    "List": list_collections,
    "Create": create,
    "Update": update,
    "Delete": delete_collection,
    "UpdateAliases": change_aliases,
    "ListAliases": list_aliases,
}
POINTS = {
    "Get": get,
    "Scroll": scroll,
    "Count": count,
    "SetPayload": set_payload,
    "UpdateBatch": update_batch,
    "Delete": delete,
    "QueryBatch": query_batch,
    "Facet": facet,
    "CreateFieldIndex": make_index,
}
