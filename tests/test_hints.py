"""Messages and hints name options, settings and commands that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import docrag
from docrag.cli import app
from docrag.serve.settings import _ServeVariables
from docrag.settings import Settings

ROOT = Path(docrag.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
FOREIGN = frozenset({"--local-dir", "--revision", "--no-deps", "--force-reinstall"})
"""Options of pip and of the downloader of checkpoints."""
NO_SETTINGS = frozenset({"DOCRAG_SERVE_", "DOCRAG_"})


COMMANDS: Any = get_command(app).commands  # type: ignore[attr-defined]


@cache
def options() -> frozenset[str]:
    """Every option of every command."""
    parameters = [parameter for name in COMMANDS for parameter in COMMANDS[name].params]
    return frozenset(option for each in parameters for option in (*each.opts, *each.secondary_opts))


@cache
def variables() -> frozenset[str]:
    """Every setting as a variable of the environment."""
    settings = {f"DOCRAG_{name.upper()}" for name in Settings.model_fields}
    return frozenset(settings | {f"DOCRAG_SERVE_{name.upper()}" for name in _ServeVariables.model_fields})


def raised_texts(path: Path) -> Iterator[str]:
    """The texts that a module raises in errors, or keeps in a mapping of hints."""
    for node in ast.walk(ast.parse(path.read_text())):
        is_hints = isinstance(node, ast.AnnAssign) and "HINTS" in ast.unparse(node.target)
        if is_hints or isinstance(node, ast.Raise):
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_errors_name_what_exists(path: Path):
    for text in raised_texts(path):
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) - FOREIGN
        assert named <= options(), text
        assert set(re.findall(r"DOCRAG_\w+", text)) - NO_SETTINGS <= variables(), text
        assert set(re.findall(r"docrag ([a-z]+) (?:--|FILE|FOLDER|NAME)", text)) <= COMMANDS.keys(), text
