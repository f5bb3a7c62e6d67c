"""An index on a Qdrant server, from the outside; the server is the client's local mode behind its routes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from qdrant_client import models

from docrag import Index, Settings
from docrag.errors import (
    IndexInUse,
    IndexMismatch,
    IndexNotFound,
    ServerUnreachable,
    SettingsError,
    StoreError,
)
from docrag.location.directory import DirectoryLocation
from docrag.location.resolve import locate
from docrag.operations.transfer import export_index, import_index
from docrag.store.server.connection import Connection
from docrag.store.server.schema import CollectionOptions, read_options
from tests.samples import APPLE, CLOCK, FERRY, write_pdf
from tests.store.fake_qdrant import FakeQdrant


@pytest.fixture
def server() -> Iterator[FakeQdrant]:
    with FakeQdrant() as server:
        yield server


@pytest.fixture
def settings(server, tmp_path) -> Settings:
    return Settings(index=server.uri, files=str(tmp_path / "files"), workers=1)


@pytest.mark.slow
def test_a_collection_is_an_index_like_a_directory(settings, tmp_path):
    write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY, CLOCK)
    write_pdf(tmp_path / "docs" / "apple.pdf", APPLE)
    answers = {}
    for place in (settings.index, str(tmp_path / "index")):
        with Index.open(place, settings=settings) as index:
            report = index.ingest(tmp_path / "docs")
            assert (report.pages, index.status().pages, index.status().uri) == (3, 3, place)
        with Index.open(place, settings=settings, create=False) as index:
            assert {file.status for file in index.ingest(tmp_path / "docs").files} == {"unchanged"}
            answers[place] = {
                mode: index.search("When does the ferry leave?", k=3, mode=mode)
                for mode in ("hybrid", "late", "cosine", "text")
            }
            assert answers[place]["late"][0].image().size
            assert index.remove(tmp_path / "docs" / "apple.pdf") == 1
            assert index.status().pages == 2
    one, other = answers.values()
    for mode in one:
        assert [hit.page_id for hit in one[mode]] == [hit.page_id for hit in other[mode]]
        assert [hit.score for hit in one[mode]] == pytest.approx([hit.score for hit in other[mode]], abs=5e-3)


@pytest.mark.slow
def test_an_index_moves_from_a_directory_to_a_server(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCRAG_FILES", str(tmp_path / "files"))
    write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY, CLOCK)
    with Index.open(tmp_path / "index", settings=settings) as index:
        index.ingest(tmp_path / "docs")
        before = index.search("pendulum", k=2)
    export_index(str(tmp_path / "index"), tmp_path / "archive")
    import_index(tmp_path / "archive", settings.index)
    with Index.open(settings=settings, create=False) as index:
        after = index.search("pendulum", k=2)
        assert [hit.page_id for hit in after] == [hit.page_id for hit in before]
        assert {file.status for file in index.ingest(tmp_path / "docs").files} == {"unchanged"}


def test_another_model_is_refused(settings, checkpoint):
    with Index.open(settings=settings):
        pass
    with pytest.raises(IndexMismatch, match="minilm"):
        Index.open(settings=settings, late=checkpoint("colqwen2"))


def test_what_is_not_there_is_not_found(settings):
    with pytest.raises(IndexNotFound, match="reports"):
        Index.open(settings=settings, create=False)
    with pytest.raises(ServerUnreachable, match=r"127\.0\.0\.1:9"):
        Index.open("http://127.0.0.1:9/reports", settings=settings)
    with pytest.raises(SettingsError, match="not a place"):
        Index.open("ftp://127.0.0.1/reports", settings=settings)


def test_a_collection_of_others_is_refused(settings, server):
    server.db.create_collection("reports", vectors_config={})
    with pytest.raises(StoreError, match="reports"):
        Index.open(settings=settings)


def test_a_directory_is_a_place_too(tmp_path):
    place = locate(Settings(index=str(tmp_path / "index")))
    assert isinstance(place, DirectoryLocation)
    assert place.fingerprint() is None


def test_a_new_collection_is_given_its_options(settings, server):
    wanted = {"shards": 3, "replicas": 2, "write_consistency": 1, "tenant": "metadata.title"}
    with Index.open(settings=settings.model_copy(update=wanted)):
        pass
    made = json.loads(next(sent.body for sent in server.requests if sent.method == "PUT"))
    assert (made["shard_number"], made["replication_factor"], made["write_consistency_factor"]) == (3, 2, 1)
    fields = [json.loads(sent.body) for sent in server.requests if sent.path.endswith("/index")]
    tenant = {"type": "keyword", "is_tenant": True}
    assert {"field_name": "metadata.title", "field_schema": tenant} in fields


@pytest.mark.parametrize("tenant", ["metadata.customer", "metadata.page"])
def test_a_tenant_that_no_page_can_have_is_refused_before_anything_is_made(settings, server, tenant):
    with pytest.raises(SettingsError, match=f"{tenant} .*cannot be the tenant|{tenant}, so it cannot be"):
        Index.open(settings=settings.model_copy(update={"tenant": tenant}))
    assert not any(sent.method == "PUT" for sent in server.requests)
    assert server.db.get_collections().collections == []


def test_options_that_a_collection_was_not_made_with_are_refused(settings, server, monkeypatch):
    with Index.open(settings=settings):
        pass
    told = server.db.get_collection("reports")
    params = told.config.params.model_copy(update={"shard_number": 3, "replication_factor": 2})
    tenant = models.PayloadIndexInfo(
        data_type="keyword", points=0, params=models.KeywordIndexParams(type="keyword", is_tenant=True)
    )
    schema = {"metadata.customer": tenant}
    config = told.config.model_copy(update={"params": params})
    info = told.model_copy(update={"config": config, "payload_schema": schema})
    assert read_options(info) == CollectionOptions("metadata.customer", 3, 2, params.write_consistency_factor)
    monkeypatch.setattr(Connection, "info", lambda *_: info)
    for fitting in ({}, {"shards": 3}, {"replicas": 2, "tenant": "metadata.customer"}):
        Index.open(settings=settings.model_copy(update=fitting)).close()
    for name, value in {"shards": 4, "replicas": 1, "tenant": "metadata.other"}.items():
        with pytest.raises(SettingsError, match=f"made with {name} = .*, asked for {value}"):
            Index.open(settings=settings.model_copy(update={name: value}))


@pytest.mark.parametrize(("name", "value"), [("shards", 2), ("tenant", "metadata.customer")])
def test_options_of_collections_are_not_for_directories(tmp_path, monkeypatch, name, value):
    monkeypatch.setenv(f"DOCRAG_{name.upper()}", str(value))
    with pytest.raises(SettingsError, match=f"{name} applies to collections on a server") as caught:
        Index.open(tmp_path / "index")
    assert f"DOCRAG_{name.upper()}" in caught.value.hint
    assert not (tmp_path / "index").exists()


def test_a_key_does_not_travel_in_the_clear(tmp_path, monkeypatch, server):
    secret = {"api_key": SecretStr("secret"), "files": str(tmp_path)}
    called = []

    def connect(*given: object, **named: object) -> None:
        called.append(given)
        raise ServerUnreachable("no such machine")

    monkeypatch.setattr("docrag.store.server.connection.connect", connect)
    with pytest.raises(SettingsError, match=r"http://qdrant.example:6333 unencrypted") as caught:
        locate(Settings(index="http://qdrant.example/reports", **secret))
    assert "DOCRAG_API_KEY_IN_CLEAR" in caught.value.hint
    assert "secret" not in str(caught.value)
    assert not called
    allowed = Settings(index="http://qdrant.example/reports", api_key_in_clear=True, **secret)
    safe = Settings(index="https://qdrant.example/reports", **secret)
    near = Settings(index="http://localhost/reports", **secret)
    keyless = Settings(index="http://qdrant.example/reports", files=str(tmp_path))
    for settings in (allowed, safe, near, keyless):
        with pytest.raises(ServerUnreachable):
            locate(settings)
    assert len(called) == 4


@pytest.mark.slow
def test_an_index_that_is_being_written_is_neither_exported_nor_imported_into(
    settings, tmp_path, monkeypatch
):
    monkeypatch.setenv("DOCRAG_FILES", str(tmp_path / "files"))
    docs, refused = write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY).parent, []
    with Index.open(settings=settings) as index:
        index.ingest(docs)
        export_index(settings.index, tmp_path / "archive")

        def move(event: object) -> None:
            for attempt in (
                lambda: export_index(settings.index, tmp_path / "other"),
                lambda: import_index(tmp_path / "archive", settings.index),
            ):
                with pytest.raises(IndexInUse, match="being written"):
                    attempt()
                refused.append(attempt)

        index.ingest(docs, again=True, listener=move)
    assert refused
