"""Every request that the server's store can send is one that Qdrant's own OpenAPI describes.

This holds for what goes over REST. By gRPC the same calls go through the classes that are generated from
Qdrant's protobuf files, which know no other fields and types; which fields Qdrant needs, and what values
mean, nothing checks there but tests/store/fake_grpc.py: no server does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from docrag.errors import ServerRefused
from docrag.ingest.manifest import FileRow, Manifest
from docrag.ingest.storage import Storage
from docrag.operations.transfer import export, import_archive
from docrag.store.archive import Archive
from docrag.store.images import PageImages
from docrag.store.layout import Fingerprint, Layout
from docrag.store.server.address import Address
from docrag.store.server.connection import connect
from docrag.store.server.store import ServerStore
from docrag.types import PageRecord
from tests.store.fake_qdrant import FakeQdrant, Sent
from tests.store.life import NEWEST, requests_of_a_life
from tests.store.openapi import fault_of, openapi
from tests.store.qdrant_openapi import ENDPOINTS, VERSIONS

OLDEST_KEPT, NEWEST_KEPT = VERSIONS
LIVES = {OLDEST_KEPT: "float16", NEWEST_KEPT: "turbo4"}
"""The datatype that is asked of a version: the smallest that docrag stores there."""


def fault(version: str, sent: Sent) -> str:
    return fault_of(version, sent.method, sent.path, sent.query, sent.body)


@pytest.fixture(scope="module", params=LIVES)
def life(request: pytest.FixtureRequest) -> tuple[str, list[Sent]]:
    return request.param, requests_of_a_life(request.param, LIVES[request.param])


def test_every_request_of_a_life_is_described(life: tuple[str, list[Sent]]):
    version, sent = life
    assert [message for message in (fault(version, one) for one in sent) if message] == []


def test_every_endpoint_that_is_described_is_used(life: tuple[str, list[Sent]]):
    _, sent = life
    names = {one.path.split("/")[2] for one in sent if one.path.count("/") > 1} - {"aliases"}
    used = {f"{one.method} {template_of(one.path, names)}" for one in sent}
    assert used == set(ENDPOINTS)


def template_of(path: str, collections: set[str]) -> str:
    return "/".join("{collection_name}" if part in collections else part for part in path.split("/"))


def test_what_a_newer_server_is_sent_differs_by_its_datatype_alone():
    """The OpenAPI of 1.20 is not published yet: the client's models know turbo8, this schema does not."""
    faults, rest = set(), []
    for one in requests_of_a_life(*NEWEST):
        if b'"turbo8"' in one.body:
            faults.add(fault(NEWEST_KEPT, one))
            body = one.body.replace(b'"turbo8"', b'"turbo4"')
            one = Sent(one.method, one.path, one.query, one.headers, body)
        rest.append(fault(NEWEST_KEPT, one))
    assert len(faults) == 1
    assert "'turbo8' is not one of" in faults.pop()
    assert set(rest) == {""}


def test_a_move_to_a_server_and_from_it_is_described(tmp_path: Path, record: Callable[[int], PageRecord]):
    built = Fingerprint({"layout": 1, "late": {"dim": 16}, "image": {"dim": 12}, "text": {"dim": 8}})
    layout = Layout.for_dims(late=16, image=12, text=8)
    with FakeQdrant() as fake:
        for name in ("from", "to"):
            home = tmp_path / name
            home.mkdir()
            store = ServerStore.create(
                connect(Address.parse(fake.uri.replace("reports", name))), layout, built
            )
            manifest = Manifest(home / "manifest.sqlite")
            with closing(Storage(store, PageImages(home / "images"), manifest)) as storage:
                if name == "from":
                    store.upsert([record(number) for number in range(5)])
                    document = record(0).payload["metadata"]["document_id"]
                    manifest.begin(document, "/docs/0.pdf")
                    row = FileRow("/docs/0.pdf", "/docs/0.pdf", 10, 20, document)
                    manifest.finish(document, 5, "", [row])
                    export(storage, built, layout, Archive(tmp_path / "archive"), lambda _: None)
                else:
                    archive = Archive(tmp_path / "archive")
                    assert import_archive(storage, archive.contents(), archive, lambda _: None).written == 5
                    assert store.count() == 5
    assert {fault(NEWEST_KEPT, one) for one in fake.requests} == {""}


def at(body: Any, *keys: str | int) -> Any:
    for key in keys:
        body = body[key]
    return body


def put(*keys: str | int, value: Any) -> Callable[[Any], None]:
    """Sets one value deep in a body."""
    return lambda body: at(body, *keys[:-1]).__setitem__(keys[-1], value)


def drop(*keys: str | int) -> Callable[[Any], None]:
    return lambda body: at(body, *keys[:-1]).__delitem__(keys[-1])


CREATE, POINTS = "PUT /collections/reports--1", "PUT /collections/reports/points"
QUERY, FACET = "POST /collections/reports/points/query/batch", "POST /collections/reports/facet"
SCROLL, INDEX = "POST /collections/reports/points/scroll", "PUT /collections/reports--1/index"
ALIASES, DELETE = "POST /collections/aliases", "POST /collections/reports/points/delete"
MUST = ("filter", "must", 0)
MUTATIONS: Mapping[str, tuple[str, Callable[[Any], None]]] = {
    "an unknown key": (CREATE, put("novelty", value=1)),
    "an unknown key that is null": (CREATE, put("vectors", "patches", "novelty", value=None)),
    "an unknown key in a point": (POINTS, put("points", 0, "novelty", value=None)),
    "an unknown key in a query": (QUERY, put("searches", 0, "prefetch", 0, "novelty", value=None)),
    "an unknown key in a condition": (SCROLL, put(*MUST, "match", "novelty", value=1)),
    "an unknown key in the parameters": (QUERY, put("searches", 0, "params", "novelty", value=True)),
    "a number as text": (CREATE, put("vectors", "patches", "size", value="3")),
    "a fraction as size": (CREATE, put("vectors", "patches", "size", value=3.5)),
    "a negative limit": (QUERY, put("searches", 0, "limit", value=-1)),
    "a limit as text": (FACET, put("limit", value="10")),
    "text in a vector": (POINTS, put("points", 0, "vector", "caption", value=["0.28", "0.96"])),
    "null in a vector": (POINTS, put("points", 0, "vector", "patches", value=[[None, 1.0, 0.0]])),
    "a truth value as text": (QUERY, put("searches", 0, "params", "quantization", "ignore", value="yes")),
    "an object where null is allowed": (SCROLL, put(*MUST, "range", value={"from": 3})),
    "null as a size": (CREATE, put("vectors", "patches", "size", value=None)),
    "null as a vector": (POINTS, put("points", 0, "vector", "image", value=None)),
    "null as the key of a facet": (FACET, put("key", value=None)),
    "null as an alias": (ALIASES, put("actions", 0, "create_alias", "alias_name", value=None)),
    "a misspelt distance": (CREATE, put("vectors", "patches", "distance", value="dot")),
    "a misspelt datatype": (CREATE, put("vectors", "patches", "datatype", value="float_16")),
    "a misspelt modifier": (CREATE, put("sparse_vectors", "bm25", "modifier", value="IDF")),
    "a misspelt comparator": (
        CREATE,
        put("vectors", "pooled", "multivector_config", "comparator", value="maxsim"),
    ),
    "a misspelt kind of index": (INDEX, put("field_schema", value="keywords")),
    "no name of a field": (INDEX, drop("field_name")),
    "no values of a sparse vector": (POINTS, drop("points", 0, "vector", "bm25", "values")),
    "no id": (POINTS, drop("points", 0, "id")),
    "no filter": (DELETE, drop("filter")),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_check_has_teeth(life: tuple[str, list[Sent]], mutation: str):
    version, sent = life
    where, change = MUTATIONS[mutation]
    one = next(one for one in sent if f"{one.method} {one.path}" == where)
    body = json.loads(one.body)
    change(body)
    assert fault_of(version, one.method, one.path, one.query, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("PUT", "/collections/reports/points", {"wait": "yes"}),
        ("PUT", "/collections/reports/points", {"wait": "true", "weight": "1"}),
        ("PUT", "/collections/reports/points", {"ordering": "firm"}),
        ("POST", "/collections/reports/points/query", {}),
        ("PATCH", "/collections/reports/points", {}),
        ("PUT", "/collection/reports/points", {}),
    ],
)
def test_unknown_parameters_and_endpoints_are_found(method: str, path: str, query: dict[str, str]):
    body = b'{"points": []}'
    assert fault_of(NEWEST_KEPT, "PUT", "/collections/reports/points", {"wait": "true"}, body) == ""
    assert fault_of(NEWEST_KEPT, method, path, query, body)


@pytest.mark.parametrize("body", [b"", b"null", b"[]"])
def test_a_body_must_be_there(body: bytes):
    assert fault_of(NEWEST_KEPT, "PUT", "/collections/reports/points", {}, body)
    assert fault_of(NEWEST_KEPT, "GET", "/collections", {}, b"{}")


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_in_the_schema_takes_any_key_but_where_keys_are_names(version: str):
    """An object is open only where its keys are names of vectors, payload fields or options of a model."""
    opened = {path for path, schema in objects(openapi(version)) if is_open(schema)}
    names = {path.split("/")[1] for path in opened}
    assert names <= {"Payload", "DocumentOptions", "FormulaQuery", "Image", "InferenceObject"}


def objects(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of an object, and where it stands."""
    parts = schema.items() if isinstance(schema, dict) else enumerate(schema)
    if isinstance(schema, dict) and schema.get("type") == "object":
        yield path, schema
    for name, part in parts:
        if isinstance(part, dict | list):
            yield from objects(part, f"{path}/{name}" if path or name != "definitions" else "definitions")


def is_open(schema: Mapping[str, Any]) -> bool:
    """Whether it has keys of any name, with values of any kind."""
    return schema.get("additionalProperties", {}) == {}


def test_the_fake_server_refuses_what_is_not_described():
    with FakeQdrant() as fake:
        connection = connect(Address.parse(fake.uri))
        with pytest.raises(ServerRefused, match="novelty"):
            connection.call(
                lambda: connection.client.http.client.request(
                    type_=object,
                    method="PUT",
                    url="/collections/reports",
                    headers={"Content-Type": "application/json"},
                    content=json.dumps({"novelty": {}}),
                )
            )
        connection.close()
