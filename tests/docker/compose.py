"""compose.yaml as Compose reads it: variables filled in, and what a container of a service gets."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

DOCKER = Path(__file__).resolve().parents[2] / "docker"
KEYS = {"QDRANT_API_KEY": "k" * 64, "DOCRAG_SERVE_KEY": "s" * 64}
ENV = {**KEYS, "DOCUMENTS": "/srv/documents"}
"""What .env must say at least."""
VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?P<how>:[-?])?(?P<word>[^}]*)\})")

IN_CONTAINER = re.compile(
    r"docker (?:compose run --rm ingest|exec docrag docrag|run .*docrag:[\d.]+)(?P<arguments>.*)"
)


def interpolated(text: str, env: Mapping[str, str]) -> str:
    """A text with its variables filled in.

    Raises:
        KeyError: One is needed that is not set.

    >>> interpolated("$$1 ${A:-b} ${C:?is needed}", {"C": "d"})
    '$1 b d'
    """

    def value(found: re.Match[str]) -> str:
        if found["escaped"]:
            return "$"
        given = env.get(found["name"], "")
        if not given and found["how"] != ":-":
            raise KeyError(found["name"])
        return given or found["word"]

    return VARIABLE.sub(value, text)


def variables(text: str) -> set[str]:
    """The variables that a text asks for."""
    return {found["name"] for found in VARIABLE.finditer(text) if found["name"]}


def services(env: Mapping[str, str] = ENV) -> dict[str, dict[str, Any]]:
    """The services of compose.yaml by name."""
    return yaml.safe_load(interpolated((DOCKER / "compose.yaml").read_text(), env))["services"]


def environment(service: Mapping[str, Any], env: Mapping[str, str] = ENV) -> dict[str, str]:
    """The variables of a container: one without a value has that of .env, or is not there."""
    given = {
        name: env.get(name) if value is None else value for name, value in service["environment"].items()
    }
    return {name: value for name, value in given.items() if value is not None}


def commands(text: str) -> list[list[str]]:
    """The docrag commands that a shell text runs in containers, as their arguments."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [shlex.split(found["arguments"]) for found in map(IN_CONTAINER.fullmatch, lines) if found]
