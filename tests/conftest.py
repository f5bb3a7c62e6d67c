"""What all tests share: the documents of the demo, the real data where it lies, and a small index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from docrag import Index, demo

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real documents and questions; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def demo_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """The demo documents, ingested once; tests only search it."""
    with Index.open(tmp_path_factory.mktemp("demo") / "index") as index:
        report = index.ingest(demo.documents())
        assert not report.failures
        yield index
