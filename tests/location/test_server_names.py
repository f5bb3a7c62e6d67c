"""An index on a server whose name is gone while its collection is there, as after a snapshot was restored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from qdrant_client import models

from docrag import Index, Settings
from docrag.errors import IndexMismatch, IndexNotFound, IndexReplaced, ServerUnreachable
from docrag.location.resolve import locate
from docrag.location.server import ServerLocation
from docrag.operations import migrate
from docrag.operations.migrate import abandon_migration, migrate_index
from docrag.store.layout import Fingerprint, Layout
from docrag.store.server import alias
from docrag.store.server.address import Address
from docrag.store.server.connection import Connection, connect
from tests.samples import CLOCK, FERRY, write_pdf
from tests.store.fake_qdrant import FakeQdrant

OTHER = Fingerprint({"layout": 1, "late": {"family": "colpali"}, "text": {"family": "minilm"}})
LAYOUT = Layout.for_dims(late=8, image=None, text=8)


@pytest.fixture
def server() -> Iterator[FakeQdrant]:
    with FakeQdrant() as server:
        yield server


@pytest.fixture
def settings(server: FakeQdrant, tmp_path: Path) -> Settings:
    return Settings(index=server.uri, files=str(tmp_path / "files"), workers=1)


@pytest.fixture
def detached(settings: Settings, server: FakeQdrant) -> Settings:
    """An index whose alias is gone."""
    Index.open(settings=settings.model_copy(update={"pooling": "rows+columns"})).close()
    delete_alias(server)
    return settings


def delete_alias(server: FakeQdrant) -> None:
    delete = models.DeleteAlias(alias_name="reports")
    server.db.update_collection_aliases([models.DeleteAliasOperation(delete_alias=delete)])


def aliases(server: FakeQdrant) -> dict[str, str]:
    return {one.alias_name: one.collection_name for one in server.db.get_aliases().aliases}


def test_a_connection_is_closed_if_the_server_fails_right_after_it_was_made(
    server: FakeQdrant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    connection = connect(Address.parse(server.uri))
    closed: list[Connection] = []
    close = Connection.close

    def note_close(connection: Connection) -> None:
        closed.append(connection)
        close(connection)

    def fail(connection: Connection, name: str) -> None:
        raise ServerUnreachable(f"{name} does not answer")

    monkeypatch.setattr(Connection, "info", fail)
    monkeypatch.setattr(Connection, "close", note_close)
    with pytest.raises(ServerUnreachable):
        ServerLocation(lambda: connection, tmp_path / "files")
    assert closed == [connection]


COMMANDS: dict[str, Callable[[Settings], object]] = {
    "search, status, serve": lambda settings: Index.open(settings=settings, create=False),
    "migrate": lambda settings: migrate_index(settings=settings),
    "migrate --abandon": lambda settings: abandon_migration(settings=settings),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_name_the_collection_that_is_left(detached: Settings, server: FakeQdrant, command: str):
    with pytest.raises(IndexNotFound, match=r"no index at .*/reports, but the collection reports--1") as told:
        COMMANDS[command](detached)
    assert f"docrag ingest FOLDER --index {server.uri} lets the name point to it again" in told.value.hint
    assert f"--index {server.uri}--1 opens it" in told.value.hint
    assert aliases(server) == {}


def test_the_collection_can_be_opened_under_its_own_name(detached: Settings):
    with Index.open(f"{detached.index}--1", settings=detached, create=False) as index:
        assert index.fingerprint["pooling"] == "rows+columns"


def test_an_index_that_is_made_gets_its_collection_again(detached: Settings, server: FakeQdrant):
    with Index.open(settings=detached) as index:  # no models are named: those of the collection are used
        assert index.fingerprint["pooling"] == "rows+columns"
    assert aliases(server) == {"reports": "reports--1"}


def test_other_models_do_not_get_it(detached: Settings, server: FakeQdrant):
    with pytest.raises(IndexMismatch, match="has lost its alias, but reports--1 is there") as told:
        Index.open(settings=detached.model_copy(update={"pooling": "tokens"}))
    assert "leave these models out" in told.value.hint
    assert aliases(server) == {}


def test_without_any_collection_nothing_is_offered(settings: Settings):
    with pytest.raises(IndexNotFound, match="there is no index at") as told:
        Index.open(settings=settings, create=False)
    assert told.value.hint == f"make one: docrag ingest FOLDER --index {settings.index}"


def test_several_collections_are_all_named(detached: Settings, server: FakeQdrant):
    with closing(connect(Address.parse(server.uri))) as connection:
        alias.make_staging(connection, LAYOUT, OTHER)
    with pytest.raises(IndexNotFound, match="but the collections reports--1, reports--2 are there") as told:
        Index.open(settings=detached, create=False)
    assert told.value.hint == f"--index {server.uri}--2 opens it"


def test_an_index_that_another_machine_has_just_made_is_opened(settings: Settings, server: FakeQdrant):
    Index.open(settings=settings).close()
    with closing(locate(settings)) as location:
        stored = location.fingerprint()
        assert stored is not None
        layout = Layout.for_dims(late=384, image=None, text=384)
        with closing(location.make(stored, layout)) as store:  # as if it had been missing a moment ago
            assert store.count() == 0
    assert {collection.name for collection in server.db.get_collections().collections} == {"reports--1"}


@pytest.mark.slow
def test_a_migration_that_was_overtaken_by_another_one_changes_nothing(
    settings: Settings, server: FakeQdrant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    docs = write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY, CLOCK).parent
    with Index.open(settings=settings) as index:
        index.ingest(docs)

    def overtake(settings: Settings, *, keep_old: bool) -> str:
        with closing(connect(Address.parse(server.uri))) as connection:
            name = alias.make_staging(connection, LAYOUT, OTHER)
            alias.switch_alias(connection, "reports", name, expected="reports--1")
        return switch(settings, keep_old=keep_old)

    switch = migrate._switch
    monkeypatch.setattr(migrate, "_switch", overtake)
    with pytest.raises(IndexReplaced, match="it is reports--3 now") as told:
        migrate_index(settings=settings.model_copy(update={"pooling": "rows+columns"}))
    assert "docrag migrate --abandon" in told.value.hint
    assert aliases(server) == {"reports": "reports--3"}
    abandon_migration(settings=settings)
    assert not server.db.collection_exists("reports--2")
    assert aliases(server) == {"reports": "reports--3"}
