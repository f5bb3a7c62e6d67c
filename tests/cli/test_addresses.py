"""The address of page images, and the link to Qdrant's dashboard, on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.samples import FERRY, write_pdf
from tests.store.fake_qdrant import FakeQdrant


@pytest.mark.slow
def test_ingest_and_status_link_to_the_dashboard(docrag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DOCRAG_FILES", str(tmp_path / "files"))
    file = write_pdf(tmp_path / "ferry.pdf", FERRY)
    with FakeQdrant() as server:
        dashboard = f"{server.uri.removesuffix('/reports')}/dashboard#/collections/reports"
        ingested = docrag("ingest", file, "--index", server.uri)
        assert ingested.code == 0
        assert ingested.err.splitlines()[-1] == f"dashboard: {dashboard}"
        assert "dashboard" not in ingested.out
        printed = docrag("status", "--index", server.uri).out
        assert f"dashboard  {dashboard} (listed there as reports--1, alias reports)\n" in printed
        [status] = docrag("status", "--index", server.uri, "--json").lines
    told = {name: status[name] for name in ("dashboard", "collection", "image_base_url")}
    assert told == {
        "dashboard": dashboard,
        "collection": "reports--1",
        "image_base_url": "http://127.0.0.1:8000",
    }


@pytest.mark.slow
def test_a_directory_has_no_dashboard(docrag, tmp_path: Path):
    file, index = write_pdf(tmp_path / "ferry.pdf", FERRY), tmp_path / "index"
    assert "dashboard" not in docrag("ingest", file, "--index", index).err
    [status] = docrag("status", "--index", index, "--json").lines
    assert (status["dashboard"], status["collection"]) == ("", "")
    assert "dashboard" not in docrag("status", "--index", index).out


@pytest.mark.slow
def test_addresses_can_be_changed_without_naming_a_file(docrag, tmp_path: Path):
    file, index = write_pdf(tmp_path / "ferry.pdf", FERRY), tmp_path / "index"
    docrag("ingest", file, "--index", index)
    file.unlink()
    changed = docrag("ingest", "--index", index, "--image-base-url", "https://pages.example")
    assert changed.code == 0
    assert "1 pages now have the new URL of their images" in changed.out
    [status] = docrag("status", "--index", index, "--json").lines
    assert (status["pages"], status["image_base_url"]) == (1, "https://pages.example")


def test_without_a_file_there_is_nothing_to_ingest(docrag, tmp_path: Path):
    outcome = docrag("ingest", "--index", tmp_path / "index")
    assert outcome.code == 2
    assert "no PATH is given" in outcome.err
    assert not (tmp_path / "index").exists()
    missing = docrag("ingest", "--index", tmp_path / "index", "--image-base-url", "https://pages.example")
    assert missing.code == 1
    assert "there is no index" in missing.err
    assert not (tmp_path / "index").exists()
