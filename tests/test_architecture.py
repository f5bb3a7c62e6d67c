"""The house stands as the design says: imports run down only, and nothing grows too large."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import docrag

ROOT = Path(docrag.__file__).parent
GROUND = {"types", "errors", "settings", "http", "rgb", "spawn", "timing"}
STAGES = {"read", "caption", "encode", "store"}
FLOWS = {"ingest", "search"}
FACES = {"cli", "serve"}
HAND = {"choice", "opening", "place", "reader", "server_place", "status", "index"}
"""What others of the hand may import of it."""
MAY_IMPORT = {
    **{name: GROUND for name in GROUND},
    **{stage: GROUND | {stage} for stage in STAGES},
    "evaluate": GROUND | {"evaluate"},
    "demo": GROUND | {"demo"},
    **{flow: GROUND | STAGES | {flow} for flow in FLOWS},
    **{
        hand: GROUND | STAGES | FLOWS | HAND
        for hand in (
            "choice",
            "opening",
            "place",
            "server_place",
            "status",
            "reader",
            "index",
            "folder",
            "labelling",
            "moving",
            "migrating",
            "estimate",
        )
    },
}
MODULES = sorted(ROOT.rglob("*.py"))


def floor(module: Path) -> str:
    """The top-level part of docrag that a module belongs to."""
    return module.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(module: Path) -> set[str]:
    """The parts of docrag that a module imports, anywhere in it."""
    parts = set()
    for node in ast.walk(ast.parse(module.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        parts |= {name.split(".")[1] for name in names if name.startswith("docrag.")}
    return parts


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_down_only(module: Path):
    part = floor(module)
    if part in FACES or part in ("__init__", "__main__"):
        return
    names = {name for name in imported(module) if (ROOT / name).exists() or (ROOT / f"{name}.py").exists()}
    assert names <= MAY_IMPORT[part], f"{module} imports {names - MAY_IMPORT[part]}"


def test_docrag_imports_integrations_where_a_user_asks_for_them_only():
    """They import docrag; the exceptions are the retriever that an index makes of itself, and a command."""
    allowed = {("index.py", "langchain_docrag"), ("cli/mcp.py", "mcp_docrag")}
    names = {path.name for path in (ROOT.parent / "integrations").iterdir()}
    assert "langchain_docrag" in names
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text())):
            parts = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            parts += [node.module] if isinstance(node, ast.ImportFrom) else []
            used = {(str(module.relative_to(ROOT)), part.split(".")[0]) for part in parts}
            assert {one for one in used if one[1] in names} <= allowed


def test_faces_reach_the_stages_through_the_index_or_their_public_parts():
    for module in (ROOT / "cli").glob("*.py"):
        assert not imported(module) & {"store", "caption"}, module


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(module: Path):
    text = module.read_text()
    assert text.count("\n") <= 300, f"{module} is too long"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert lines_of_code(node) <= 40, f"{module}: {node.name} is too long"


def lines_of_code(function: ast.AST) -> int:
    """Lines of a function's body, without those that go on a docstring or another text."""
    texts = [
        node for node in ast.walk(function) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return (
        function.end_lineno
        - function.body[0].lineno
        + 1
        - sum(text.end_lineno - text.lineno for text in texts)
    )


def test_public_names_exist_and_are_all_there_is():
    assert sorted(docrag.__all__) == sorted(docrag._HOMES)
    for name in docrag.__all__:
        assert getattr(docrag, name).__name__ == name or name == "Mode"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Nonsense"):
        docrag.Nonsense  # noqa: B018


def test_import_is_light():
    code = "import docrag, sys; print({'torch', 'pymupdf', 'qdrant_client', 'numpy'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"
