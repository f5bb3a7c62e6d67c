"""The directory of a collection on this machine, by whatever address it is reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from docrag import Index, Settings
from docrag.location.resolve import existing_folder, local_folder
from docrag.location.server import ServerLocation
from docrag.serve.settings import ServeSettings
from docrag.store.identity import noted_address
from docrag.store.server.address import Address
from docrag.store.server.connection import Connection, connect
from tests.store.fake_qdrant import FakeQdrant


@pytest.fixture
def server() -> Iterator[FakeQdrant]:
    with FakeQdrant() as server:
        yield server


@pytest.fixture
def settings(server: FakeQdrant, tmp_path: Path) -> Settings:
    """Of an index that was made as 127.0.0.1."""
    settings = Settings(index=server.uri, files=str(tmp_path / "files"), workers=1)
    Index.open(settings=settings).close()
    return settings


def test_another_spelling_of_the_address_finds_the_directory(settings: Settings):
    own = local_folder(settings)
    assert own.is_dir()
    uri = settings.index.replace("127.0.0.1", "localhost")
    for name in (uri, f"{uri}--1"):
        elsewhere = settings.model_copy(update={"index": name})
        assert existing_folder(elsewhere) == own
        assert local_folder(elsewhere) != own  # nothing is written there before a server was asked
    other = existing_folder(settings.model_copy(update={"index": uri.replace("reports", "manuals")}))
    assert (other.parent, other.exists()) == (own.parent, False)
    served = ServeSettings.for_index(Settings(index=str(own), files=settings.files), pages_of=[uri])
    assert served.other_pages == (("reports", own),)


@pytest.mark.parametrize(
    ("noted", "used", "is_shared"),
    [("one", "two", True), ("one", "one", False), ("localhost", "two", False), ("one", "127.0.0.1", False)],
)
def test_a_directory_that_two_servers_share_is_told(
    settings: Settings,
    server: FakeQdrant,
    caplog: pytest.LogCaptureFixture,
    noted: str,
    used: str,
    is_shared: bool,
):
    folder = local_folder(settings)
    assert noted_address(folder) == server.uri
    note = folder / "collection.json"
    note.write_text(note.read_text().replace("127.0.0.1", noted))

    def connect_by_name() -> Connection:
        connection = connect(Address.parse(server.uri))
        connection.address = replace(connection.address, host=used)
        return connection

    location = ServerLocation(connect_by_name, folder.with_name("other_address"))
    with closing(location):
        assert location.folder == folder
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [str(folder) in warning and noted in warning for warning in warnings] == (
        [True] if is_shared else []
    )
