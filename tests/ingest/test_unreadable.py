"""A folder that nobody may look into costs only itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from docrag import Index
from docrag.errors import UnreadableDocument
from docrag.ingest.manifest import FileRow, Manifest
from docrag.ingest.sync import make_plan
from tests.samples import APPLE, CLOCK, FERRY, write_pdf


@pytest.fixture
def close(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Tests run as root, who may look everywhere."""
    closed: set[Path] = set()
    scandir = os.scandir

    def refusing(folder: Path):
        if Path(folder) in closed:
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    return closed.add


@pytest.mark.slow
def test_the_rest_is_ingested_and_nothing_of_it_is_forgotten(index: Index, tmp_path: Path, close, status_of):
    docs = tmp_path / "docs"
    write_pdf(docs / "ferry.pdf", FERRY)
    write_pdf(docs / "secret" / "apple.pdf", APPLE)
    assert status_of(index.ingest(docs)) == {"ferry.pdf": "added", "apple.pdf": "added"}
    close(docs / "secret")
    write_pdf(docs / "clock.pdf", CLOCK)
    report = index.ingest(docs, prune=True)
    assert status_of(report) == {"ferry.pdf": "unchanged", "clock.pdf": "added", "secret": "failed"}
    [failed] = report.failures
    assert (failed.file, failed.error) == (str(docs / "secret"), f"{docs / 'secret'}: Permission denied")
    assert failed.hint == "check the folder's permissions"
    assert index.status().pages == 3
    assert index.search("apple orchards", k=1, mode="text")[0].file.endswith("apple.pdf")


def test_files_are_gone_only_where_somebody_looked(tmp_path: Path):
    docs = tmp_path / "docs"
    (docs / "secret").mkdir(parents=True)
    manifest = Manifest(tmp_path / "manifest.sqlite")
    for name in ("secret/a.pdf", "secrets.pdf", "link.pdf"):
        manifest.begin(name, name)
        manifest.finish(name, 1, "", [FileRow(str(docs / name), name, 1, 1, name)])
    unreadable = {path: UnreadableDocument("no", "yes") for path in (docs / "secret", docs / "link.pdf")}
    plan = make_plan([docs], [], manifest, str, unreadable=unreadable)
    manifest.close()
    assert [row.source for row in plan.gone] == ["secrets.pdf"]
    assert [path for path, _ in plan.failed] == [str(docs / "secret"), str(docs / "link.pdf")]
