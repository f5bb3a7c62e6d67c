"""Storages to export from and to import into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from docrag.ingest.storage import Storage
from docrag.operations import transfer
from docrag.store.archive import Archive
from tests.operations.sample_storage import PART, empty_storage, fill


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports of a few pages have several parts."""
    monkeypatch.setattr(transfer, "PAGES_PER_PART", PART)
    monkeypatch.setattr(transfer, "BATCH", 2)


@pytest.fixture
def make_storage(tmp_path: Path) -> Iterator[Callable[[str], Storage]]:
    """Creates empty storages by name, and closes them."""
    made = []

    def make(name: str) -> Storage:
        made.append(empty_storage(tmp_path / name))
        return made[-1]

    yield make
    for storage in made:
        storage.close()


@pytest.fixture
def storage(make_storage: Callable[[str], Storage]) -> Storage:
    """A storage with the documents that `fill` writes."""
    return fill(make_storage("from"))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "export")
