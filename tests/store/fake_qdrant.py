"""A Qdrant server by REST on this machine: the client's local mode behind the server's routes.

Requests are checked against Qdrant's OpenAPI, and bodies are read by the models that qdrant-client generates
from it, which forbid unknown keys: a request that Qdrant would not understand is refused here too. Like the
server, it gzips every answer for a client that accepts this.
"""

from __future__ import annotations

import gzip
import json
import re
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import TypeAdapter, ValidationError
from qdrant_client import QdrantClient, models

from docrag.store.layout import KEYWORDS
from docrag.store.server.schema import HELD_BY
from tests.store.openapi import fault_of
from tests.store.strict_mode import Forbidden, Rules


@dataclass(frozen=True)
class Sent:
    """A request that came in whole."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Fault:
    """What becomes of a request instead of an answer."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut: Literal["", "reading", "before", "after", "middle"] = ""
    """Close the connection while the request is read, before it is carried out, after it, or in the middle of
    the answer."""
    slow: float = 0
    """Seconds until the request is carried out."""
    words: str = "scripted"
    """The error, where there is a status."""


ONE_SHARD = models.CollectionClusterInfo(
    peer_id=1,
    shard_count=1,
    local_shards=[models.LocalShardInfo(shard_id=0, points_count=0, state=models.ReplicaState.ACTIVE)],
    remote_shards=[],
    shard_transfers=[],
)
"""What a server says that belongs to no cluster."""

ROUTES: list[tuple[str, str, Any, Callable[..., Any]]] = [
    ("GET", r"/collections", None, lambda db: db.get_collections()),
    ("GET", r"/aliases", None, lambda db: db.get_aliases()),
    (
        "POST",
        r"/collections/aliases",
        models.ChangeAliasesOperation,
        lambda db, body: db.update_collection_aliases(body.actions),
    ),
    ("GET", r"/collections/([^/]+)", None, lambda db, name: db.get_collection(name)),
    ("GET", r"/collections/([^/]+)/cluster", None, lambda db, name: ONE_SHARD),
    ("DELETE", r"/collections/([^/]+)", None, lambda db, name: db.delete_collection(name)),
    ("PUT", r"/collections/([^/]+)", models.CreateCollection, lambda db, name, body: create(db, name, body)),
    (
        "PATCH",
        r"/collections/([^/]+)",
        models.UpdateCollection,
        lambda db, name, body: db.update_collection(name, metadata=body.metadata),
    ),
    (
        "PUT",
        r"/collections/([^/]+)/index",
        models.CreateFieldIndex,
        lambda db, name, body: db.create_payload_index(name, body.field_name, body.field_schema),
    ),
    (
        "PUT",
        r"/collections/([^/]+)/points",
        models.PointsList,
        lambda db, name, body: db.upsert(
            name, body.points, update_filter=body.update_filter, update_mode=body.update_mode
        ),
    ),
    (
        "POST",
        r"/collections/([^/]+)/points",
        models.PointRequest,
        lambda db, name, body: db.retrieve(name, body.ids, body.with_payload, body.with_vector or False),
    ),
    ("POST", r"/collections/([^/]+)/points/scroll", models.ScrollRequest, lambda *given: scroll(*given)),
    (
        "POST",
        r"/collections/([^/]+)/points/count",
        models.CountRequest,
        lambda db, name, body: db.count(name, body.filter, exact=body.exact),
    ),
    (
        "POST",
        r"/collections/([^/]+)/points/payload",
        models.SetPayload,
        lambda db, name, body: db.set_payload(name, body.payload, body.points or body.filter, body.key),
    ),
    (
        "POST",
        r"/collections/([^/]+)/points/batch",
        models.UpdateOperations,
        lambda db, name, body: db.batch_update_points(name, body.operations),
    ),
    (
        "POST",
        r"/collections/([^/]+)/points/delete",
        models.PointsSelector,
        lambda db, name, body: db.delete(name, body),
    ),
    (
        "POST",
        r"/collections/([^/]+)/points/query/batch",
        models.QueryRequestBatch,
        lambda db, name, body: db.query_batch_points(name, body.searches),
    ),
    ("POST", r"/collections/([^/]+)/facet", models.FacetRequest, lambda *given: facet(*given)),
]


def create(db: QdrantClient, name: str, body: models.CreateCollection) -> bool:
    if db.collection_exists(name):
        raise FileExistsError(f"Wrong input: Collection `{name}` already exists!")
    return db.create_collection(
        name,
        vectors_config=body.vectors,
        sparse_vectors_config=body.sparse_vectors,
        metadata=body.metadata,
    )


def scroll(db: QdrantClient, name: str, body: models.ScrollRequest) -> models.ScrollResult:
    points, offset = db.scroll(
        name,
        body.filter,
        limit=body.limit,
        offset=body.offset,
        with_payload=body.with_payload,
        with_vectors=body.with_vector or False,
    )
    return models.ScrollResult(points=points, next_page_offset=offset)


def facet(db: QdrantClient, name: str, body: models.FacetRequest) -> models.FacetResponse:
    """Facets, which the server gives only for indexed fields."""
    if body.key not in FakeQdrant.indexed:
        raise ValueError(f"Bad request: No appropriate index for faceting: `{body.key}`")
    return db.facet(name, body.key, facet_filter=body.filter, limit=body.limit, exact=bool(body.exact))


class FakeQdrant:
    """Serves routes on a port of its own; keeps all requests.

    Args:
        faults: What becomes of the first requests that write points.
        most_bytes: Of a body; larger ones are answered by 413.
        version: That it says it has.
        key: That requests must bring.
        tls: Makes it a server of https.
    """

    indexed: frozenset[str] = frozenset((*KEYWORDS, HELD_BY))

    def __init__(
        self,
        *faults: Fault,
        most_bytes: int = 32 * 2**20,
        version: str = "1.19.0",
        key: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.requests: list[Sent] = []
        self.payload_schema: dict[str, Any] | None = None
        """The payload indexes of its collections; None says that there are none, as local mode does."""
        self.db = QdrantClient(":memory:")
        self.faults = list(faults)
        self.faulty = r"/collections/[^/]+/points"
        self.faulty_method = ""
        """The method of the requests that have faults; empty for any."""
        self.most_bytes = most_bytes
        self.version = version
        self.key = key
        self.rules = Rules()
        self.states: dict[str, Any] = {}
        """What replaces parts of the descriptions of collections, such as their status."""
        self.cluster: dict[str, Any] | None = None
        """How the shards of each collection are spread; None is a server that belongs to no cluster."""
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": self}))
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def uri(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}/reports"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.db.close()

    def fault_for(self, method: str, path: str) -> Fault:
        """The next fault, where the request is one of those that have them."""
        with self.lock:
            hit = self.faulty_method in ("", method) and re.fullmatch(self.faulty, path)
            return self.faults.pop(0) if self.faults and hit else Fault()

    def answer(self, sent: Sent) -> tuple[int, Any]:
        """Status and body."""
        if self.key and sent.headers.get("api-key") != self.key:
            return 401, "Must provide an API key or an Authorization bearer token"
        if len(sent.body) > self.most_bytes:
            return 413, {"status": {"error": "Payload too large"}}
        if (sent.method, sent.path) == ("GET", "/"):
            return 200, {"title": "qdrant - vector search engine", "version": self.version}
        if fault := fault_of(self.version, sent.method, sent.path, sent.query, sent.body):
            return 422, {"status": {"error": fault}}
        try:
            result = self._in_its_state(sent, self._carry_out(sent))
            return 200, {"status": "ok", "time": 0.0, "result": result}
        except (Forbidden, FileExistsError, ValueError) as error:
            return status_of(error), {"status": {"error": str(error)}}

    def _in_its_state(self, sent: Sent, result: Any) -> Any:
        """What is said of a collection and its shards, where a test wants them to be unwell."""
        if self.cluster and re.fullmatch(r"/collections/[^/]+/cluster", sent.path):
            return self.cluster
        if sent.method == "GET" and re.fullmatch(r"/collections/[^/]+", sent.path):
            return {**result, **self.states}
        return result

    def _carry_out(self, sent: Sent) -> Any:
        method, path = sent.method, sent.path
        for verb, pattern, kind, do in ROUTES:
            if verb == method and (match := re.fullmatch(pattern, path)):
                given = [*match.groups(), *([TypeAdapter(kind).validate_json(sent.body)] if kind else [])]
                with self.lock, warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # local mode says that it is no server
                    name, body = match.groups()[0] if match.groups() else "", given[-1] if kind else None
                    self.rules.check(self.db, operation_of(method, path), name, body)
                    answer = self._as_told(do(self.db, *given))
                    result = TypeAdapter(Any).dump_python(answer, mode="json")
                self._note_indexes(method, path, given, result)
                return result
        raise ValueError(f"{method} {path} not found")

    def _note_indexes(self, method: str, path: str, given: list[Any], result: Any) -> None:
        """Keep the payload indexes that are made, and describe them with the collection."""
        if self.payload_schema is None:
            return
        if method == "PUT" and path.endswith("/index"):
            schema = given[-1].field_schema
            kind = getattr(schema, "type", schema)
            self.payload_schema[given[-1].field_name] = {"data_type": kind.value, "points": 0}
        if method == "GET" and isinstance(result, dict) and "payload_schema" in result:
            result["payload_schema"] = self.payload_schema

    def _as_told(self, result: Any) -> Any:
        """A result as its server tells it to whoever has the key."""
        match result:
            case models.CollectionInfo():
                return self.rules.describe(result)
            case models.CollectionsResponse(collections=collections):
                shown = self.rules.shown([one.name for one in collections])
                return models.CollectionsResponse(
                    collections=[one for one in collections if one.name in shown]
                )
            case models.CollectionsAliasesResponse(aliases=aliases):
                names = [name for one in aliases for name in (one.alias_name, one.collection_name)]
                shown = self.rules.shown(names)
                both = [one for one in aliases if {one.alias_name, one.collection_name} <= set(shown)]
                return models.CollectionsAliasesResponse(aliases=both)
        return result


def status_of(error: Exception) -> int:
    """The HTTP status for an error."""
    match error:
        case Forbidden():
            return 403
        case FileExistsError():
            return 409
        case ValidationError():
            return 422
    return 404 if str(error).endswith("not found") else 400


def operation_of(method: str, path: str) -> str:
    """What a key must allow for a request: read, write, index or manage."""
    if method == "PUT" and path.endswith("/index"):
        return "index"
    if method != "GET" and re.fullmatch(r"/collections/[^/]+", path):  # /collections/aliases, too
        return "manage"
    writes = method == "PUT" or re.search(r"/points/(payload|delete|batch)$", path)
    return "write" if writes else "read"


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    fake: FakeQdrant
    protocol_version = "HTTP/1.1"

    def receive(self) -> None:
        parts = urlsplit(self.path)
        fault = self.fake.fault_for(self.command, parts.path)
        length = int(self.headers.get("Content-Length", 0))
        if fault.cut == "reading":
            self.rfile.read(length // 2)
            self.hang_up()
            return
        body = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        sent = Sent(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body)
        self.fake.requests.append(sent)
        time.sleep(fault.slow)
        if fault.cut == "before":
            self.hang_up()
        elif fault.status:
            self.say(fault.status, {"status": {"error": fault.words}}, fault.headers)
        else:
            self.say(*self.fake.answer(sent), fault.headers, fault.cut)

    def say(self, status: int, body: Any, headers: dict[str, str], cut: str = "") -> None:
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            content = gzip.compress(content, compresslevel=1)  # the server's level
            headers = {"Content-Encoding": "gzip", **headers}
        if cut == "after":
            self.hang_up()
            return
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.hang_up()

    def hang_up(self) -> None:
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = receive

    def log_message(self, format: str, *args: Any) -> None:
        pass
