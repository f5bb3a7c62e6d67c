"""A server over a small index, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from docrag import Index, Settings
from docrag.operations.stop import stop_engine
from docrag.serve.app import create_app
from docrag.serve.settings import ServeSettings
from tests.samples import APPLE, FERRY, copy_index, write_pdf
from tests.serve.processes import ServerProcess

HERE = "http://127.0.0.1:8000"
KEY = "a key of more than sixteen letters"


@pytest.fixture(scope="session")
def client(demo_index: Index) -> TestClient:
    """A client of a read-only server over the demo's documents."""
    return TestClient(create_app(demo_index), base_url=HERE, raise_server_exceptions=False)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[TestClient]:
    """A client of a server over an empty index."""
    with Index.open(tmp_path / "empty") as index:
        yield TestClient(create_app(index), base_url=HERE, raise_server_exceptions=False)


@pytest.fixture(scope="session")
def two_pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of a document of two pages, ingested once; only copies of it are opened."""
    home = tmp_path_factory.mktemp("two")
    write_pdf(home / "docs" / "ferry.pdf", FERRY, APPLE)
    with Index.open(home / "index") as index:
        index.ingest(home / "docs")
    return home / "index"


@pytest.fixture
def folder(two_pages: Path, tmp_path: Path) -> Path:
    """The directory of an index of two pages, which is closed."""
    return copy_index(two_pages, tmp_path / "index")


@pytest.fixture
def started(folder: Path) -> Iterator[Callable[..., TestClient]]:
    """Starts servers over the two pages, with uploads and with their lifespan; all end with the test."""
    clients: list[TestClient] = []

    def start(**settings: Any) -> TestClient:
        serve_settings = ServeSettings(**{"allow_ingest": True, "folder": folder, **settings})
        app = create_app(Index.open(folder, create=False), serve_settings)
        client = TestClient(app, base_url=HERE, raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        return client

    yield start
    for client in clients:
        if client.app.state.ready:
            client.__exit__(None, None, None)


@pytest.fixture
def engine_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The engine of the small index has a process of its own, which all processes of the test share."""
    monkeypatch.delenv("DOCRAG_IN_PROCESS", raising=False)
    yield
    stop_engine(Settings(index=str(folder)))


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers over the small index; those that still run are killed after the test."""
    servers: list[ServerProcess] = []

    def start(*flags: str, **environment: str) -> ServerProcess:
        servers.append(ServerProcess(folder, *flags, **environment))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()
