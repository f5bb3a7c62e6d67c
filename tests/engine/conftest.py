"""Indexes whose points the engine's own process holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from docrag import Index, Settings
from docrag.operations.stop import stop_engine


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests open indexes in their own process (tests/conftest.py)."""
    monkeypatch.delenv("DOCRAG_IN_PROCESS")


@pytest.fixture(scope="module")
def made(demo_copy: Callable[[], Path]) -> Iterator[Path]:
    """A copy of the index of the demo documents, which the tests of a module only search."""
    folder = demo_copy()
    yield folder
    stop_engine(Settings(index=str(folder)))


@pytest.fixture
def copy(demo_copy: Callable[[], Path]) -> Iterator[Path]:
    """A copy of the index of the demo documents for one test."""
    folder = demo_copy()
    yield folder
    if folder.exists():
        stop_engine(Settings(index=str(folder)))


@pytest.fixture
def opened(made: Path) -> Iterator[Index]:
    """A handle of the index that is only searched."""
    with Index.open(made, create=False) as index:
        yield index
