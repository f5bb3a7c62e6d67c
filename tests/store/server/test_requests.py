"""The client's models read every request that the server's store sends, and it sends what was recorded.

The models are those that qdrant-client generates from Qdrant's OpenAPI of its own version, newer than the one
in test_server_openapi.py, and they forbid unknown keys. The requests of a small index are kept beside this
file, so that a change to them is seen; DOCRAG_RECORD=1 writes them anew.
"""

from __future__ import annotations

import json
import os
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from tests.store.fake_qdrant import ROUTES, Sent
from tests.store.life import NEWEST, requests_of_a_life

RECORDED = Path(__file__).with_name("server_requests.json")


@pytest.fixture(scope="module")
def sent() -> list[Sent]:
    return requests_of_a_life(*NEWEST)


def test_every_request_has_a_route_and_a_body_that_is_read_whole(sent: list[Sent]):
    for request in sent[1:]:
        kind = kind_of(request)
        if kind is None:
            assert not request.body
            continue
        body = json.loads(request.body)
        read = TypeAdapter(kind).validate_python(body)
        understood = TypeAdapter(kind).dump_python(read, mode="json", by_alias=True, exclude_unset=True)
        assert understood == body, f"{request.method} {request.path}"


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
    requests_sent = [
        {"method": one.method, "path": one.path, "query": one.query}
        | ({"body": json.loads(one.body)} if one.body else {})
        for one in sent
    ]
    if os.environ.get("DOCRAG_RECORD"):
        lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in requests_sent)
        RECORDED.write_text(f"[\n{lines}\n]\n")
    assert requests_sent == json.loads(RECORDED.read_text())


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
