"""The directory of a collection is found by the collection's id."""

from __future__ import annotations

from pathlib import Path

import pytest

from docrag.store.identity import (
    CollectionIdentity,
    folder_of,
    note_identity,
    noted_address,
    noted_identity,
    only_folder_named,
)

REPORTS = CollectionIdentity.of("reports--2", "6f3c")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "localhost_6333_reports"
    folder.mkdir()
    return folder


def test_a_migrated_collection_is_the_same_and_a_copy_under_another_name_is_not(folder: Path):
    note_identity(folder, REPORTS)
    assert noted_identity(folder) == REPORTS
    assert folder_of(CollectionIdentity.of("reports--1", "6f3c"), folder.parent) == folder
    assert folder_of(CollectionIdentity.of("reports", "6f3c"), folder.parent) == folder
    assert folder_of(CollectionIdentity.of("copy--1", "6f3c"), folder.parent) is None
    assert folder_of(CollectionIdentity.of("reports--1", "a2b1"), folder.parent) is None


@pytest.mark.parametrize("content", ["", "{}", "[]", "not JSON", '{"name": "reports"}'])
def test_a_damaged_note_counts_as_none(folder: Path, content: str):
    (folder / "collection.json").write_text(content)
    assert noted_identity(folder) is None
    assert folder_of(REPORTS, folder.parent) is None
    note_identity(folder, REPORTS)
    assert noted_identity(folder) == REPORTS


def test_of_two_directories_the_first_is_used(folder: Path, caplog: pytest.LogCaptureFixture):
    other = folder.with_name("127.0.0.1_6333_reports")
    other.mkdir()
    for each in (folder, other):
        note_identity(each, REPORTS)
    assert folder_of(REPORTS, folder.parent) == other
    assert "belong to one collection" in caplog.text


def test_without_directories_there_is_none(tmp_path: Path):
    assert folder_of(REPORTS, tmp_path / "missing") is None
    assert noted_identity(tmp_path / "missing") is None
    note_identity(tmp_path / "missing", REPORTS)  # it cannot be written, and that is no error
    assert not (tmp_path / "missing").exists()


def test_the_first_address_stays_noted(folder: Path):
    note_identity(folder, REPORTS)
    assert noted_address(folder) == ""
    for address in ("http://a:6333/reports", "http://b:6333/reports"):
        note_identity(folder, REPORTS, address)
    note_identity(folder, REPORTS)
    assert noted_address(folder) == "http://a:6333/reports"
    assert noted_identity(folder) == REPORTS


def test_the_only_directory_of_a_name_is_found(folder: Path):
    root = folder.parent
    (root / "a file").touch()
    assert only_folder_named("reports", root) is None
    note_identity(folder, REPORTS)
    assert only_folder_named("reports", root) == only_folder_named("reports--7", root) == folder
    assert only_folder_named("manuals", root) is None
    (other := root / "qdrant_6333_reports").mkdir()
    note_identity(other, CollectionIdentity.of("reports--1", "a2b1"))
    assert only_folder_named("reports", root) is None
    assert only_folder_named("reports", root / "missing") is None
