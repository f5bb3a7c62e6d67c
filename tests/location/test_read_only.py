"""A whole index that cannot be written: it is searched like any other, and nothing in it changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from docrag import Index
from docrag.errors import IndexInUse, StoreError
from docrag.operations.transfer import export_index
from docrag.types import MODES, Hit
from tests.read_only import (
    BECOME_NOBODY,
    content_of,
    mounted_read_only,
    public_folder,
    without_write_permission,
)
from tests.samples import copy_index

__all__ = ["public_folder"]  # a fixture

QUESTION = "What do four red flashes mean?"

SEARCH_AS_NOBODY = f"""
import json, sys
from docrag import Index
with Index.open(sys.argv[2], create=False) as index:  # loads what only root may read, such as the interpreter
    index.search({QUESTION!r})
{BECOME_NOBODY}
with Index.open(sys.argv[1], create=False) as index:
    hits = index.search({QUESTION!r}, k=3)
print(json.dumps([[hit.page_id, hit.score, len(hit.regions), hit.image().size] for hit in hits]))
"""


def found(index: Index) -> list[tuple[object, ...]]:
    """What an index finds in every mode, with all that a hit tells."""
    hits = [hit for mode in MODES for hit in index.search(QUESTION, k=5, mode=mode)]
    return [(*summary(hit), hit.text, hit.scores) for hit in hits]


def summary(hit: Hit) -> list[object]:
    return [hit.page_id, hit.score, len(hit.regions), list(hit.image().size)]


def test_a_read_only_mount_finds_the_same_and_stays_as_it_is(demo_copy: Callable[[], Path], tmp_path: Path):
    original = demo_copy()
    with Index.open(original, create=False) as index:
        expected = found(index)
        status = index.status()
    before = content_of(original)
    with mounted_read_only(original, tmp_path / "mount") as folder:
        with Index.open(folder, create=False) as index, Index.open(folder, create=False) as beside:
            assert found(index) == found(beside) == expected
            assert index.status().pages == status.pages
            assert index.status().documents == status.documents
            page_id = str(expected[0][0])
            assert index.heatmap(page_id, QUESTION).words
            assert index.page(page_id).text
        with Index.open(folder) as index:
            assert len(index.search(QUESTION)) > 0
    assert content_of(original) == before


def test_a_change_is_refused_with_what_to_do(demo_copy: Callable[[], Path], tmp_path: Path, folder: Path):
    original = demo_copy()
    before = content_of(original)
    with (
        mounted_read_only(original, tmp_path / "mount") as mount,
        Index.open(mount, create=False) as index,
    ):
        document = index.documents()[0]
        with pytest.raises(StoreError, match="copy it to a folder that can be written"):
            index.ingest(folder)
        with pytest.raises(StoreError, match="copy it to a folder that can be written"):
            index.remove(document.file)
        assert index.search(QUESTION)
    assert content_of(original) == before


def test_a_user_without_write_permission_finds_the_same(demo_copy: Callable[[], Path], public_folder: Path):
    original = copy_index(demo_copy(), public_folder / "index")
    with Index.open(original, create=False) as index:
        expected = [summary(hit) for hit in index.search(QUESTION, k=3)]
    with without_write_permission(original):
        before = content_of(original)
        output = run(sys.executable, "-c", SEARCH_AS_NOBODY, str(original), str(demo_copy()))
        assert content_of(original) == before
    assert json.loads(output) == expected


def test_the_command_line_searches_it(demo_copy: Callable[[], Path], tmp_path: Path):
    """From a folder that cannot be written either, with the name of the index in docrag.toml."""
    original = demo_copy()
    (original / "docrag.toml").write_text('index = "."\n')
    before = content_of(original)
    with mounted_read_only(original, tmp_path / "mount") as mount:
        docrag = (sys.executable, "-m", "docrag")
        response = json.loads(run(*docrag, "search", QUESTION, "-k", "1", "--json", folder=mount))
        status = run(*docrag, "status", folder=mount)
    assert [hit["page"] for hit in response["hits"]] == [4]
    assert "15 pages" in status
    assert content_of(original) == before


def test_it_is_exported(demo_copy: Callable[[], Path], tmp_path: Path):
    with mounted_read_only(demo_copy(), tmp_path / "mount") as mount:
        exported = export_index(str(mount), tmp_path / "export")
    assert (exported.pages, exported.written) == (15, 15)


def test_an_interrupted_migration_is_left_to_who_can_finish_it(demo_copy: Callable[[], Path], tmp_path: Path):
    original = demo_copy()
    (original / ".migration").mkdir()
    (original / ".migration" / "switch.json").write_text('{"kept": ""}')
    with (
        mounted_read_only(original, tmp_path / "mount") as mount,
        pytest.raises(StoreError, match=r"migration .* was interrupted .*as a user who can write"),
    ):
        Index.open(mount, create=False)


def test_points_that_a_migration_is_replacing_are_not_searched(
    demo_copy: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Somebody who can write the index decides a switch after this process has looked for one."""
    original = demo_copy()
    monkeypatch.setattr("docrag.location.directory.DirectoryLocation.recover", lambda location: None)
    (original / ".migration").mkdir()
    (original / ".migration" / "switch.json").write_text('{"kept": ""}')
    with (
        mounted_read_only(original, tmp_path / "mount") as mount,
        pytest.raises(IndexInUse, match="a migration is replacing"),
    ):
        Index.open(mount, create=False)


def run(*command: str, folder: Path | None = None) -> str:
    """What a command prints; its errors are shown if it fails."""
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), **os.environ}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
