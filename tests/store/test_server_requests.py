"""Every request that the server's store can send is one that Qdrant understands.

They are read by the models that qdrant-client generates from Qdrant's OpenAPI. Those forbid unknown keys, and
have none of the loopholes of the schema itself, whose "nullable" branches accept anything. The requests of a
small index are kept beside this file, so that a change to them is seen; DOCRAG_RECORD=1 writes them anew.
"""

from __future__ import annotations

import json
import os
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError
from qdrant_client import models

from docrag.search.plan import queries
from docrag.search.stages import Stages
from docrag.store import alias
from docrag.store.address import Address
from docrag.store.connection import connect
from docrag.store.layout import KEYWORDS, Fingerprint, Layout
from docrag.store.schema import CollectionOptions
from docrag.store.server import ServerStore
from docrag.types import MODES, PageRecord, SparseVector
from tests.store.fake_qdrant import ROUTES, FakeQdrant, Sent

RECORDED = Path(__file__).with_name("server_requests.json")
PARAMETERS = {"wait": {"true"}}
"""Of the query, as Qdrant's OpenAPI has them, that docrag uses."""
PAGE = models.Filter(must=[models.FieldCondition(key="metadata.page", match=models.MatchValue(value=2))])


def small_record() -> PageRecord:
    vectors = {
        "patches": np.eye(2, 3, dtype=np.float32),
        "pooled": np.eye(1, 3, dtype=np.float32),
        "image": np.array([0.6, 0.8], np.float32),
        "caption": np.array([0.28, 0.96], np.float32),
        "bm25": SparseVector((3, 4294967295), (1.5, 0.25)),
    }
    payload = {"page_content": "Straße", "metadata": {"page": 2, "sources": ["/a.pdf"], "title": ""}}
    return PageRecord("6f3c1c0e-53a8-5d0b-9d0c-6c2f1c3a5e11", vectors, payload)


@pytest.fixture(scope="module")
def sent() -> list[Sent]:
    """The requests of a life: made, filled, searched, changed, migrated, dropped."""
    FakeQdrant.indexed = frozenset(KEYWORDS)
    layout = Layout.for_dims(late=3, image=2, text=2, datatype="turbo8")
    record = small_record()
    with FakeQdrant(version="1.20.0") as fake:
        connection = connect(Address.parse(fake.uri))
        options = CollectionOptions("metadata.customer", 2, 2, 1)
        store = ServerStore.create(connection, layout, Fingerprint({"layout": 1}), options)
        store.upsert([record])
        for mode in MODES:
            for filter in (None, {"page": "3", "file_name": "7", "source": "/a.pdf"}):
                vectors = record.vectors | {"patches": np.eye(9, 3, dtype=np.float32)}
                store.query(list(queries(mode, vectors, filter, 5, Stages(sieve=200)).values()))
        store.retrieve([record.id], vectors=["patches", "bm25"], payload=["metadata.page"])
        store.retrieve([record.id], payload=[])
        list(store.scroll(PAGE, payload=["metadata"]))
        list(store.scroll())
        store.count(PAGE)
        store.facet("metadata.source")
        store.set_payload({"source": "/b.pdf"}, PAGE, key="metadata")
        store.set_payload({"image_url": "http://localhost/1.jpg"}, PAGE)
        store.delete(PAGE)
        store.set_fingerprint(Fingerprint({"layout": 1, "text": {}}))
        new = ServerStore.beside(connection, layout, Fingerprint({"layout": 2}))
        alias.switch_alias(connection, "reports", new.collection)
        alias.drop(connection, "reports--1")
        store.close()
    return fake.requests


def test_every_request_has_a_route_and_a_body_that_is_read_whole(sent: list[Sent]):
    for request in sent[1:]:
        kind = kind_of(request)
        if kind is None:
            assert not request.body
            continue
        body = json.loads(request.body)
        read = TypeAdapter(kind).validate_python(body)
        told = TypeAdapter(kind).dump_python(read, mode="json", exclude_unset=True)
        assert told == body, f"{request.method} {request.path}"


def test_every_parameter_is_known(sent: list[Sent]):
    for request in sent:
        assert all(value in PARAMETERS[name] for name, value in request.query.items())


def test_every_route_is_used(sent: list[Sent]):
    used = {(request.method, pattern_of(request)) for request in sent[1:]}
    assert used == {(method, pattern) for method, pattern, _, _ in ROUTES}


@pytest.mark.parametrize("kind", [kind for _, _, kind, _ in ROUTES if kind])
def test_the_check_has_teeth(kind: Any):
    """No model that a request can hold takes keys that it does not know."""
    for model in reachable(kind):
        assert model.model_config.get("extra") == "forbid", model


@pytest.mark.parametrize(
    ("path", "key"), [("/reports/points", "points"), ("/reports/points/query/batch", "searches")]
)
def test_an_unknown_key_deep_in_a_request_is_found(sent: list[Sent], path: str, key: str):
    request = next(one for one in sent if one.path.endswith(path) and one.method in ("PUT", "POST"))
    body = json.loads(request.body)
    body[key][0]["novelty"] = None
    with pytest.raises(ValidationError, match="novelty"):
        TypeAdapter(kind_of(request)).validate_python(body)


def test_the_requests_are_those_that_were_recorded(sent: list[Sent]):
    told = [
        {"method": one.method, "path": one.path, "query": one.query}
        | ({"body": json.loads(one.body)} if one.body else {})
        for one in sent
    ]
    if os.environ.get("DOCRAG_RECORD"):
        lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in told)
        RECORDED.write_text(f"[\n{lines}\n]\n")
    assert told == json.loads(RECORDED.read_text())


def route_of(request: Sent) -> tuple[str, str, Any, Any]:
    return next(
        route for route in ROUTES if route[0] == request.method and re.fullmatch(route[1], request.path)
    )


def kind_of(request: Sent) -> Any:
    return route_of(request)[2]


def pattern_of(request: Sent) -> str:
    return route_of(request)[1]


def reachable(kind: Any, seen: set[type] | None = None) -> Iterator[type[BaseModel]]:
    """Every model that a type can hold, however deep."""
    seen = set() if seen is None else seen
    for part in typing.get_args(kind):
        yield from reachable(part, seen)
    if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in seen:
        seen.add(kind)
        yield kind
        for field in kind.model_fields.values():
            yield from reachable(field.annotation, seen)
