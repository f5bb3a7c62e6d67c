"""Indexes that many processes use through the engine's own process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from docrag import Settings
from docrag.operations.stop import stop_engine


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests open indexes in their own process (tests/conftest.py)."""
    monkeypatch.delenv("DOCRAG_IN_PROCESS", raising=False)


@pytest.fixture
def index(demo_copy: Callable[[], Path]) -> Iterator[Path]:
    """The folder of an index of the demo documents, for one test."""
    folder = demo_copy()
    yield folder
    stop_engine(Settings(index=str(folder)))
