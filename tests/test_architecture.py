"""The code stands as docs/architecture.md says: imports run down only, without a circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

import docrag

ROOT = Path(docrag.__file__).parent
INTEGRATIONS = ROOT.parent / "integrations"
FLOORS = (
    {"types", "errors", "settings", "common"},
    {"read", "caption", "encode", "store", "evaluate", "demo"},
    {"ingest", "search", "tuning"},
    {"location"},
    {"index"},
    {"operations", "engine"},
    {"serve"},
    {"cli"},
)
"""The parts of docrag from the ground up: a part may import from floors below its own, and from itself."""
BESIDE = {"tuning": {"search"}}
"""What parts may import of their own floor: tuning measures how search behaves."""
MODULES = sorted(ROOT.rglob("*.py"))


def module_name(path: Path) -> str:
    """The dotted name of a module of docrag."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path): path for path in MODULES}


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Dotted names that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_modules(path: Path) -> set[str]:
    """The modules of docrag that a module imports, for types as well."""
    modules = set()
    for name in imported_names(ast.parse(path.read_text())):
        if name in NAMES:
            modules.add(name)
        elif name.rpartition(".")[0] in NAMES:
            modules.add(name.rpartition(".")[0])
    return modules - {module_name(path), "docrag"}


def part_of(module: str) -> str:
    """The part of docrag that a module belongs to."""
    return module.split(".")[1]


def floor_of(part: str) -> int:
    """The floor on which a part stands, from the ground up."""
    return next(number for number, parts in enumerate(FLOORS) if part in parts)


def test_every_part_stands_on_one_floor():
    parts = {part_of(name) for name in NAMES if name.count(".") and not name.endswith("__main__")}
    assert sorted(parts) == sorted(part for floor in FLOORS for part in floor)


@pytest.mark.parametrize("module", [name for name in NAMES if name.count(".") and name != "docrag.__main__"])
def test_imports_run_down_only(module: str):
    part = part_of(module)
    for imported in imported_modules(NAMES[module]):
        other = part_of(imported)
        below = floor_of(other) < floor_of(part)
        beside = other in BESIDE.get(part, set())
        ground = floor_of(part) == floor_of(other) == 0
        assert below or beside or ground or other == part, f"{module} imports {imported}"


def test_there_is_no_circle_of_imports():
    """Imports for types and those within functions count as well."""
    graph = {name: imported_modules(path) for name, path in NAMES.items() if name != "docrag"}
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"circle: {' -> '.join((*path[path.index(module) :], module))}"
        if module not in finished:
            for imported in sorted(graph.get(module, set())):
                if not _is_own_package(imported, module):
                    visit(imported, (*path, module))
            finished.add(module)

    for module in sorted(graph):
        visit(module, ())


def _is_own_package(imported: str, module: str) -> bool:
    """Whether a module imports the package that contains it; that is found by the test of floors."""
    return module.startswith(f"{imported}.")


def test_no_module_imports_an_integration():
    """They import docrag. `Index.as_retriever` finds one by its name, and `docrag mcp` runs one."""
    names = {path.name for path in INTEGRATIONS.iterdir() if path.is_dir()}
    assert "langchain_docrag" in names
    for path in MODULES:
        imported = {name.split(".")[0] for name in imported_names(ast.parse(path.read_text()))}
        allowed = {"mcp_docrag"} if path == ROOT / "cli" / "mcp.py" else set()
        assert not imported & names - allowed, path


def test_only_the_store_of_a_server_imports_the_client():
    """Queries and filters are classes of docrag's own: qdrant_client takes half a second to import."""
    paths = [*MODULES, *INTEGRATIONS.rglob("*.py")]
    importing = {path for path in paths if _imports(path, "qdrant_client")}
    assert importing
    assert {path.parent for path in importing} == {ROOT / "store" / "server"}


def _imports(path: Path, library: str) -> bool:
    """Whether a module imports a library, for types as well."""
    return library in {name.split(".")[0] for name in imported_names(ast.parse(path.read_text()))}


def test_commands_reach_storage_and_captions_through_the_index():
    for path in (ROOT / "cli").glob("*.py"):
        assert not {part_of(name) for name in imported_modules(path)} & {"store", "caption"}, path


def test_no_two_classes_have_one_name():
    """`DocragRetriever` is what each framework's users look for."""
    homes = defaultdict(list)
    for path in [*MODULES, *INTEGRATIONS.rglob("*.py")]:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(str(path.relative_to(ROOT.parent)))
    twice = {name: files for name, files in homes.items() if len(files) > 1}
    assert set(twice) <= {"DocragRetriever"}, twice


def test_the_index_is_imported_without_torch_and_the_client():
    """qdrant_client takes half a second to import, so `from docrag import Index` must not."""
    code = "from docrag import Index; import sys; print({'torch', 'qdrant_client'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"


@pytest.mark.parametrize(
    "module",
    [
        "docrag.search.answer",
        "docrag.search.browse",
        "docrag.store.local.store",
        "docrag.ingest.sync",
        "docrag.tuning.tune",
        "docrag.index.index",
        "docrag.operations.migrate",
        "langchain_docrag.vectorstore",
    ],
)
def test_an_index_in_a_directory_needs_no_client(module: str):
    code = f"import {module}, sys; print('qdrant_client' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "False"


def test_public_names_exist_and_are_all_there_is():
    assert sorted(docrag.__all__) == sorted(docrag._HOMES)
    for name in docrag.__all__:
        assert getattr(docrag, name).__name__ == name or name == "Mode"


def test_the_version_is_that_of_the_installed_package():
    assert docrag.__version__ == version("docrag-qdrant")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Nonsense"):
        docrag.Nonsense  # noqa: B018


def test_import_is_light():
    code = "import docrag, sys; print({'torch', 'pymupdf', 'qdrant_client', 'numpy'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"
