"""`docrag serve` over a Qdrant server that hangs, is away, or fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from docrag import Index, Settings
from docrag.serve import jobs
from docrag.serve.app import create_app
from docrag.serve.settings import ServeSettings
from tests.samples import APPLE, FERRY, write_pdf
from tests.serve.conftest import HERE
from tests.store.fake_qdrant import FakeQdrant, Fault
from tests.store.proxy import Proxy

SEARCH = {"query": "When does the ferry leave?", "k": 1}
LIMIT = 4.0
"""Seconds that the server has for a request."""
BUSY = 4.0
"""Seconds that a machine with much else to do may take beside them."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeQdrant]:
    """A server with an index of one page."""
    folder = tmp_path_factory.mktemp("first")
    write_pdf(folder / "docs" / "ferry.pdf", FERRY)
    with FakeQdrant() as server:
        settings = Settings(index=server.uri, files=str(folder / "files"), workers=1)
        with Index.open(settings=settings) as index:
            index.ingest(folder / "docs")
        yield server


@pytest.fixture
def way(server: FakeQdrant) -> Iterator[Proxy]:
    """The way to the server."""
    with Proxy(int(server.uri.split(":")[2].split("/")[0])) as way:
        yield way


@pytest.fixture
def client(way: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A client of `docrag serve`, whose jobs soon ask whether the server is back."""
    monkeypatch.setattr(jobs, "FIRST_WAIT", 0.1)
    monkeypatch.setattr(jobs, "LONGEST_WAIT", 0.2)
    settings = Settings(
        index=way.uri,
        files=str(tmp_path / "files"),
        workers=1,
        server_timeout=LIMIT,
        server_write_timeout=LIMIT,
    )
    serve_settings = ServeSettings.for_index(settings, allow_ingest=True)
    assert serve_settings.server_timeout == LIMIT
    app = create_app(Index.open(settings=settings), serve_settings)
    with TestClient(app, base_url=HERE, raise_server_exceptions=False) as client:
        yield client
        if way._door is None:
            way.open()
        way.go_on()


def timed(ask: Callable[[], Response]) -> tuple[Response, float]:
    """A response and the seconds that it took."""
    started = time.perf_counter()
    return ask(), time.perf_counter() - started


def require_plain_words(response: Response) -> None:
    """It says that the server does not answer, and nothing about its address."""
    assert response.status_code == 503
    assert "the Qdrant server that holds the index does not answer" in response.text
    assert int(response.headers["Retry-After"]) > 0
    for text in ("127.0.0.1", "http:", "Errno", "grpc", "Traceback"):
        assert text not in response.text


def test_a_hung_server_holds_no_request_longer_than_its_limit(client: TestClient, way: Proxy):
    assert client.get("/readyz").status_code == 200
    way.hang()
    response, seconds = timed(lambda: client.get("/readyz"))
    require_plain_words(response)
    assert seconds < LIMIT  # 2 seconds, and what a busy machine takes
    response, seconds = timed(lambda: client.post("/v1/search", json=SEARCH))
    require_plain_words(response)
    assert LIMIT * 0.9 < seconds < LIMIT + BUSY
    response, seconds = timed(lambda: client.get(f"/v1/pages/{'0' * 8}-0000-0000-0000-{'0' * 12}"))
    require_plain_words(response)
    assert seconds < LIMIT + BUSY
    response, seconds = timed(lambda: client.delete(f"/v1/documents/{'ab' * 32}"))
    require_plain_words(response)
    assert seconds < LIMIT + BUSY
    assert client.get("/healthz").status_code == 200
    way.go_on()
    assert client.post("/v1/search", json=SEARCH).json()["hits"]
    assert client.get("/readyz").json() == {"status": "ready"}


def test_searches_that_wait_for_others_wait_no_longer(client: TestClient, way: Proxy):
    way.hang()
    seconds: list[float] = []

    def search() -> None:
        seconds.append(timed(lambda: client.post("/v1/search", json=SEARCH))[1])

    threads = [threading.Thread(target=search) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(seconds) < LIMIT + BUSY  # there are fewer threads than searches


def test_a_server_that_is_away_is_told_in_plain_words(client: TestClient, way: Proxy):
    way.shut()
    response, seconds = timed(lambda: client.get("/readyz"))
    require_plain_words(response)
    assert seconds < LIMIT
    require_plain_words(client.post("/v1/search", json=SEARCH))
    page = client.get("/?q=ferry", headers={"accept": "text/html"})
    assert page.status_code == 503
    assert page.headers["Retry-After"]
    assert "the Qdrant server that holds the index does not answer" in page.text
    assert f":{way.port}" not in page.text
    way.open()
    assert client.get("/readyz").status_code == 200
    assert client.post("/v1/search", json=SEARCH).json()["hits"]


def test_any_index_that_does_not_answer_is_not_ready_within_two_seconds(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
):
    ended = threading.Event()
    monkeypatch.setattr(client.app.state.index, "pages", lambda ids: ended.wait(20))
    for _ in range(2):
        response, seconds = timed(lambda: client.get("/readyz"))
        assert (response.status_code, seconds < 2 + BUSY) == (503, True)
        assert response.json()["error"]["message"] == "the index does not answer"
    ended.set()


def upload(client: TestClient, file: Path) -> str:
    """Send a document; the address of its job."""
    response = client.post("/v1/ingest", files={"files": (file.name, file.read_bytes())})
    assert response.status_code == 202
    return response.headers["Location"]


def wait_for(client: TestClient, job: str, is_reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The state of a job, once it is as wanted."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        state: dict[str, Any] = client.get(job).json()
        if is_reached(state):
            return state
        time.sleep(0.05)
    raise AssertionError(state)


@pytest.mark.slow
def test_an_upload_waits_for_a_server_that_is_away(client: TestClient, way: Proxy, tmp_path: Path):
    write_pdf(tmp_path / "apple.pdf", APPLE)
    way.shut()
    job = upload(client, tmp_path / "apple.pdf")
    state = wait_for(client, job, lambda state: state["waiting_for"] is not None)
    assert (state["waiting_for"], state["state"]) == ("the Qdrant server", "running")
    way.open()
    state = wait_for(client, job, lambda state: state["end"] is not None)
    assert (state["state"], state["waiting_for"]) == ("done", None)
    assert state["end"]["summary"]["added"] == 1
    assert [(file["file"], file["status"]) for file in state["files"]] == [("apple.pdf", "added")]
    assert client.post("/v1/search", json={"query": "apple", "mode": "text"}).json()["hits"]


@pytest.mark.slow
def test_a_file_that_cannot_be_read_does_not_end_a_job_that_waits(
    client: TestClient, way: Proxy, tmp_path: Path
):
    good = write_pdf(tmp_path / "tower.pdf", "The tower opens at nine.")
    way.shut()
    response = client.post(
        "/v1/ingest",
        files=[("files", ("broken.pdf", b"%PDF-1.7 cut off")), ("files", (good.name, good.read_bytes()))],
    )
    job = response.headers["Location"]
    wait_for(client, job, lambda state: state["waiting_for"] == "the Qdrant server")
    way.open()
    state = wait_for(client, job, lambda state: state["end"] is not None)
    assert state["state"] == "done"
    assert [(file["file"], file["status"]) for file in state["files"]] == [
        ("broken.pdf", "failed"),
        ("tower.pdf", "added"),
    ]
    uploads = client.app.state.jobs.uploads.folder
    assert [path.name for path in uploads.iterdir()] == ["tower.pdf"]
    assert 'docrag_ingest_documents_total{status="failed"} 1.0' in client.get("/metrics").text


def test_a_stop_does_not_wait_for_a_server_that_is_away(client: TestClient, way: Proxy, tmp_path: Path):
    write_pdf(tmp_path / "later.pdf", "The next start ingests this page.")
    way.shut()
    job = upload(client, tmp_path / "later.pdf")
    wait_for(client, job, lambda state: state["waiting_for"] is not None)
    client.app.state.jobs.stop()
    state = wait_for(client, job, lambda state: state["end"] is not None)
    assert state["state"] == "stopped"
    assert list(client.app.state.jobs.uploads.folder.glob(".later*.waiting"))


@pytest.mark.slow
def test_a_server_that_answers_and_never_stores_a_document_ends_the_job(
    client: TestClient, way: Proxy, server: FakeQdrant, tmp_path: Path
):
    write_pdf(tmp_path / "other.pdf", "Nothing of this is ever stored.")
    always = Fault(500, words="Service internal error: something is broken")
    server.faulty_method, server.faults = "PUT", [always] * 1000
    before = len(server.requests)
    job = upload(client, tmp_path / "other.pdf")
    state = wait_for(client, job, lambda state: state["end"] is not None)
    server.faults = []
    assert len(server.requests) > before
    assert state["state"] == "failed"
    assert state["end"]["error"]["message"] == "the Qdrant server that holds the index does not answer"


@pytest.mark.slow
def test_a_full_disk_of_the_server_is_told_at_once(client: TestClient, server: FakeQdrant, tmp_path: Path):
    write_pdf(tmp_path / "third.pdf", "The disk has no room for this page.")
    full = Fault(500, words="Service internal error: No space left on device: WAL buffer size exceeds it")
    server.faulty_method, server.faults = "PUT", [full]
    job = upload(client, tmp_path / "third.pdf")
    state = wait_for(client, job, lambda state: state["end"] is not None)
    assert state["state"] == "failed"
    error = state["end"]["error"]
    assert error["message"].startswith("the Qdrant server answered 500: ")
    assert "free some space on the server's disk" in error["hint"]
