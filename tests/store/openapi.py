"""Whether a request is one that Qdrant's OpenAPI describes; nothing beyond it passes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match

from tests.store.qdrant_openapi import DASHBOARD_ENDPOINTS, ENDPOINTS, VERSIONS, file_for

MOST_BYTES = 100_000
"""Of a body that is checked: jsonschema looks at 200,000 floats a second."""


def fault_of(version: str, method: str, path: str, query: Mapping[str, str], body: bytes) -> str:
    """What Qdrant of a version would not understand in a request; empty where all is well.

    A version whose OpenAPI is not kept here, one of `published` else, is not checked.
    """
    schema = published(version)
    if schema is None or len(body) > MOST_BYTES:
        return ""
    endpoint = next((name for name in (*ENDPOINTS, *DASHBOARD_ENDPOINTS) if _matches(name, method, path)), "")
    if not endpoint:
        return f"{method} {path}: no such endpoint"
    asked: dict[str, Any] = {"query": {name: _value(value) for name, value in query.items()}}
    if body:
        asked["body"] = json.loads(body)
    error = best_match(_validator(schema, endpoint).iter_errors(asked))
    return f"{endpoint}: {error.json_path}: {error.message}" if error else ""


def published(version: str) -> str | None:
    """The version of the OpenAPI with the same major and minor number; None where none is kept."""
    same = [known for known in VERSIONS if known.split(".")[:2] == version.split(".")[:2]]
    return same[0] if same else None


@cache
def openapi(version: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(file_for(version).read_text())
    return document


@cache
def _validator(version: str, endpoint: str) -> Draft7Validator:
    schema = openapi(version)
    parts = schema["endpoints"][endpoint]
    return Draft7Validator(
        {
            "properties": parts,
            "required": sorted(parts),
            "additionalProperties": False,
            "definitions": schema["definitions"],
        }
    )


def _matches(endpoint: str, method: str, path: str) -> bool:
    verb, template = endpoint.split()
    return verb == method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) is not None


def _value(text: str) -> Any:
    """A parameter as the schema knows it: a truth value, a number, else a text."""
    with suppress(ValueError):
        return json.loads(text)
    return text
