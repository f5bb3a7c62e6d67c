"""What a server must survive: requests of every shape, and files made to break readers."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import status_code_conformance

from docrag import Index, Settings
from docrag.serve.app import create_app
from docrag.serve.settings import ServeSettings
from tests.samples import APPLE, FERRY, write_pdf
from tests.serve.conftest import HERE
from tests.serve.routes.test_ingest import ended, send

SECRET = secrets.token_hex()
"""Stands in a file beside the index; hypothesis tries words that stand in this one."""

FEW = settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)


@pytest.fixture(scope="module")
def abused(tmp_path_factory: pytest.TempPathFactory):
    """A server over two pages that takes uploads; nothing that it answers may hold what stands beside it."""
    home = tmp_path_factory.mktemp("abused")
    (home / "secret.txt").write_text(SECRET)
    write_pdf(home / "docs" / "ferry.pdf", FERRY, APPLE)
    with Index.open(home / "index") as index:
        index.ingest(home / "docs")
        app = create_app(index, ServeSettings(allow_ingest=True, folder=home / "index", most_jobs=2))
        app.state.ready = True  # its lifespan would close the index
        yield app
        app.state.jobs.join()


def without_lifespan(app: Any) -> Any:
    """The application as it stands: schemathesis would end it after each request."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        while scope["type"] == "lifespan":
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
        await app(scope, receive, send)

    return serve


def test_whatever_is_asked_is_answered_in_good_order(abused):
    """Requests that schemathesis makes of the description, right ones and wrong ones, for each operation."""
    schema = schemathesis.openapi.from_asgi(
        "/openapi.json", without_lifespan(abused), headers={"Host": "127.0.0.1"}
    )
    operations = [found.ok() for found in schema.get_all_operations()]
    asked: Counter[str] = Counter()

    def check(case: Any) -> None:
        answer = case.call(headers={"Host": "127.0.0.1"})
        said = f"{case.operation.label} {answer.status_code} {answer.text[:500]}"
        asked[f"{case.operation.label} {answer.status_code // 100}"] += 1
        case.validate_response(answer, checks=[not_a_server_error, status_code_conformance])
        assert SECRET not in answer.text, said
        assert answer.headers["x-content-type-options"] == ["nosniff"], said
        if answer.status_code >= 400:
            assert set(answer.json()["error"]) == {"message", "hint"}, said
            assert "Traceback" not in answer.text, said

    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                FEW(given(operation.as_strategy(generation_mode=mode))(check))()
            except Unsatisfiable:  # nothing can be wrong with what takes nothing
                assert mode is GenerationMode.NEGATIVE
    assert len(operations) > 10
    assert asked["POST /v1/search 2"] > 3
    assert asked["POST /v1/search 4"] > 3


def test_files_that_were_made_to_break_readers(shared: Path, tmp_path: Path, caplog):
    """Uploaded all at once: each is ingested or refused with a reason, and searches go on meanwhile."""
    nasty = sorted((shared / "nasty").glob("*.pdf"))
    assert len(nasty) > 30
    write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY)
    with Index.open(tmp_path / "index", settings=Settings(page_timeout=3)) as index:  # one hangs on each page
        index.ingest(tmp_path / "docs")
        app = create_app(index, ServeSettings(allow_ingest=True, folder=tmp_path / "index"))
        client = TestClient(app, base_url=HERE)
        answer = send(client, *[(f"../../{path.name}", path.read_bytes()) for path in nasty])
        assert answer.status_code == 202, answer.text
        found: list[int] = []
        stop = threading.Event()

        def search() -> None:
            while not stop.wait(0.2):
                found.append(client.post("/v1/search", json={"query": "ferry timetable"}).status_code)

        searching = threading.Thread(target=search)
        searching.start()
        told = ended(client, answer.json()["job"], 400)
        stop.set()
        searching.join()
        app.state.jobs.join()
        assert told["state"] == "done"
        reports = {file["file"]: file for file in told["files"]}
        assert len(reports) == len(nasty)
        failed = {name for name, file in reports.items() if file["status"] == "failed"}
        assert all(reports[name]["error"] for name in failed)
        assert 0 < len(failed) < len(nasty) / 2
        assert set(found) == {200}
        kept = {path.name for path in (tmp_path / "index" / "uploads").iterdir()}
        assert kept == reports.keys() - failed
        assert not list(tmp_path.glob("*.pdf"))
        for document in client.get("/v1/documents").json()["documents"]:
            assert client.get(f"/pages/{document['document_id']}/1.jpg?w=160").status_code in (200, 404)


def test_many_clients_at_once_while_one_uploads(abused, tmp_path: Path):
    """In one event loop, as of a server: a client outside a with block has one for each call."""
    with TestClient(without_lifespan(abused), base_url=HERE) as client:
        content = write_pdf(tmp_path / "a.pdf", *[f"page {n} of clocks" for n in range(30)]).read_bytes()
        accepted = send(client, ("a.pdf", content))
        assert accepted.status_code == 202, accepted.text
        job = accepted.json()["job"]
        statuses: list[int] = []

        def ask(n: int) -> None:
            asked = {"query": f"clocks {n}", "k": 5}
            statuses.append(client.post("/v1/search", json=asked).status_code)
            statuses.append(client.get("/v1/documents").status_code)

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [200] * 40
        assert ended(client, job)["state"] == "done"
