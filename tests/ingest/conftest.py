"""An index to ingest into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from docrag import Index, Settings


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path / "index", settings=Settings(workers=1)) as opened:
        yield opened
