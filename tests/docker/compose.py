"""compose.yaml as Compose reads it, with its variables filled in."""

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
"""The variables that .env must set."""
VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?P<operator>:[-?])?(?P<word>[^}]*)\})")

IN_CONTAINER = re.compile(
    r"docker (?:compose run --rm ingest|exec docrag docrag|run .*docrag:[\d.]+)(?P<arguments>.*)"
)


def interpolated(text: str, env: Mapping[str, str]) -> str:
    """A text with its variables filled in.

    Raises:
        KeyError: A required variable is not set.

    >>> interpolated("$$1 ${A:-b} ${C:?is needed}", {"C": "d"})
    '$1 b d'
    """

    def fill_in(variable: re.Match[str]) -> str:
        if variable["escaped"]:
            return "$"
        value = env.get(variable["name"], "")
        if not value and variable["operator"] != ":-":
            raise KeyError(variable["name"])
        return value or variable["word"]

    return VARIABLE.sub(fill_in, text)


def variables(text: str) -> set[str]:
    """The names of the variables in a text."""
    return {variable["name"] for variable in VARIABLE.finditer(text) if variable["name"]}


def services(env: Mapping[str, str] = ENV) -> dict[str, dict[str, Any]]:
    """The services of compose.yaml by name."""
    return yaml.safe_load(interpolated((DOCKER / "compose.yaml").read_text(), env))["services"]


def environment(service: Mapping[str, Any], env: Mapping[str, str] = ENV) -> dict[str, str]:
    """The environment of a container; a variable without a value is taken from .env, or left out."""
    values = {
        name: env.get(name) if value is None else value for name, value in service["environment"].items()
    }
    return {name: value for name, value in values.items() if value is not None}


def commands(text: str) -> list[list[str]]:
    """Arguments of the docrag commands that a shell script runs in containers."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [shlex.split(match["arguments"]) for match in map(IN_CONTAINER.fullmatch, lines) if match]
