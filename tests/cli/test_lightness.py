"""What a short command may import: a library that it does not need is time that a person waits."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
from typer.main import get_command

from docrag.cli import Commands, app
from docrag.cli.lazy_group import CommandEntry

HEAVY = (
    "PIL",
    "httpx",
    "langchain_core",
    "numpy",
    "onnxruntime",
    "pydantic",
    "pydantic_settings",
    "pymupdf",
    "qdrant_client",
    "qdrant_edge",
    "rich",
    "tokenizers",
    "torch",
    "transformers",
)
"""Each takes longer to import than Python takes to start."""

PRINT_VERSION = "from docrag.cli import app; app(['--version'], standalone_mode=False)"
PRINT_HELP = "from docrag.cli import app; app(['--help'], standalone_mode=False)"
PRINT_HITS = """
from docrag.cli.console import print_json
from docrag.cli.search import search
from docrag.search.hit_json import hit_json
from docrag.types import Hit, Region
regions = (Region((0.1, 0.2, 0.3, 0.4), 0.5, "a"),)
hit = Hit(
    file="a.pdf", page=1, page_id="", text="a", rank=1, score=0.5, scores={"late": 0.5}, regions=regions
)
print_json(hit_json(hit))
"""
READ_SETTINGS = "from docrag.cli.console import read_settings; read_settings(index='somewhere')"


def loaded_by(code: str) -> set[str]:
    """The names of all modules that a new process has imported once it has run some code."""
    report = f"{code}\nimport sys\nprint(*sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", report]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stderr.split())


@pytest.mark.parametrize("code", ["from docrag import Index", PRINT_VERSION, PRINT_HITS])
def test_nothing_heavy_is_imported(code: str):
    assert not loaded_by(code) & set(HEAVY)


def test_help_imports_rich_alone():
    assert loaded_by(PRINT_HELP) & set(HEAVY) == {"rich"}


def test_settings_import_pydantic_alone():
    assert loaded_by(READ_SETTINGS) & set(HEAVY) == {"pydantic", "pydantic_settings"}


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_the_list_of_commands_imports_no_command(option: str):
    loaded = loaded_by(f"from docrag.cli import app; app([{option!r}], standalone_mode=False)")
    modules = {f"docrag.cli.{entry.function or entry.name}" for entry in Commands.entries}
    assert not loaded & modules


def test_a_command_imports_no_other_command():
    loaded = loaded_by("from docrag.cli import app; app(['remove', '--help'], standalone_mode=False)")
    modules = {f"docrag.cli.{entry.function or entry.name}" for entry in Commands.entries}
    assert loaded & modules == {"docrag.cli.remove"}


@pytest.mark.parametrize("entry", Commands.entries, ids=lambda entry: entry.name)
def test_the_list_says_what_the_docstring_of_the_command_says(entry: CommandEntry):
    docstring = inspect.getdoc(entry.load_function())
    assert docstring is not None
    assert entry.summary == docstring.partition("\n\n")[0].replace("\n", " ")


def test_a_name_that_is_almost_a_command_gets_suggestions(docrag):
    refused = docrag("serch")
    assert refused.code == 2
    assert "Did you mean 'search'" in refused.err


def test_commands_are_completed_with_their_summary():
    group = get_command(app)
    context = group.make_context("docrag", ["x"], resilient_parsing=True)
    completed = {item.value: item.help for item in group.shell_complete(context, "s")}
    assert {"search", "serve", "status"} <= set(completed)
    assert completed["status"].startswith("Print what the index holds")
