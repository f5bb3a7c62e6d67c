"""What all tests share: the documents of the demo, the real data where it lies, and a small index."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from docrag import Index, demo
from tests.checkpoints.families import save
from tests.samples import APPLE, FERRY, copy_index, write_pdf

# One reader process per ingest: each takes more than a second of CPU time to start, and pytest itself runs on
# all cores. tests/read/test_pool.py has several. Processes that tests start inherit the variable.
os.environ.setdefault("DOCRAG_WORKERS", "1")
# Most tests open their index in their own process, which takes no second process per index. The engine's own
# process is tested in tests/engine and tests/many_processes, and by the documentation as it stands.
os.environ.setdefault("DOCRAG_IN_PROCESS", "1")
os.environ.setdefault("DOCRAG_ENGINE_IDLE", "5")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real documents and questions; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def demo_copy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Gives copies of an index of the demo documents, which are ingested once; nobody holds a copy."""
    made = tmp_path_factory.mktemp("demo") / "index"
    with Index.open(made) as index:
        assert not index.ingest(demo.documents()).failures
    return lambda: copy_index(made, tmp_path_factory.mktemp("copy") / "index")


@pytest.fixture(scope="session")
def demo_index(demo_copy: Callable[[], Path]) -> Iterator[Index]:
    """An index of the demo documents; tests only search it."""
    with Index.open(demo_copy(), create=False) as index:
        yield index


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Gives the tiny checkpoint of a family, as --late or --image takes it; each is built once."""

    @cache
    def build(family: str) -> str:
        return save(family, tmp_path_factory.mktemp(family))

    return build


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two documents, three pages."""
    write_pdf(
        tmp_path / "docs" / "ferry.pdf", FERRY, "Page two: fares for cars, bicycles and foot passengers."
    )
    write_pdf(tmp_path / "docs" / "apple.pdf", APPLE)
    return tmp_path / "docs"


@pytest.fixture
def status_of() -> Callable[[object], dict[str, str]]:
    """File name -> status of an ingest report."""
    return lambda report: {Path(file.file).name: file.status for file in report.files}
