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
from tests.serve.uploading import upload, wait_for_job

SECRET = secrets.token_hex()
"""Content of a file beside the index. It is random because hypothesis tries words of this file."""

FEW_EXAMPLES = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)


@pytest.fixture(scope="module")
def abused(tmp_path_factory: pytest.TempPathFactory):
    """A server over two pages that takes uploads; no response may contain the file beside the index."""
    home = tmp_path_factory.mktemp("abused")
    (home / "secret.txt").write_text(SECRET)
    write_pdf(home / "docs" / "ferry.pdf", FERRY, APPLE)
    with Index.open(home / "index") as index:
        index.ingest(home / "docs")
        app = create_app(index, ServeSettings(allow_ingest=True, folder=home / "index", max_waiting_jobs=2))
        app.state.ready = True  # instead of its lifespan, which would close the index
        yield app
        app.state.jobs.join()


def without_lifespan(app: Any) -> Any:
    """The application without its lifespan, which schemathesis would end after each request."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        while scope["type"] == "lifespan":
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
        await app(scope, receive, send)

    return serve


@pytest.mark.slow
def test_every_request_gets_a_documented_response(abused):
    """Valid and invalid requests for each operation, which schemathesis makes from the description."""
    schema = schemathesis.openapi.from_asgi(
        "/openapi.json", without_lifespan(abused), headers={"Host": "127.0.0.1"}
    )
    operations = [result.ok() for result in schema.get_all_operations()]
    responses: Counter[str] = Counter()

    def check(case: Any) -> None:
        response = case.call(headers={"Host": "127.0.0.1"})
        summary = f"{case.operation.label} {response.status_code} {response.text[:500]}"
        responses[f"{case.operation.label} {response.status_code // 100}"] += 1
        case.validate_response(response, checks=[not_a_server_error, status_code_conformance])
        assert SECRET not in response.text, summary
        assert response.headers["x-content-type-options"] == ["nosniff"], summary
        if response.status_code >= 400:
            assert set(response.json()["error"]) == {"message", "hint"}, summary
            assert "Traceback" not in response.text, summary

    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                FEW_EXAMPLES(given(operation.as_strategy(generation_mode=mode))(check))()
            except Unsatisfiable:  # an operation without parameters has no invalid requests
                assert mode is GenerationMode.NEGATIVE
    assert len(operations) > 10
    # The examples change with the text of this test, so these counts only show that both kinds occur.
    assert responses["POST /v1/search 2"] > 3
    assert responses["POST /v1/search 4"] > 3


@pytest.mark.slow
def test_files_that_were_made_to_break_readers(shared: Path, tmp_path: Path, caplog):
    """All uploaded at once: each is ingested or refused with a reason, and searches go on meanwhile."""
    nasty = sorted((shared / "nasty").glob("*.pdf"))
    assert len(nasty) > 30
    write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY)
    with Index.open(tmp_path / "index", settings=Settings(page_timeout=3)) as index:  # one hangs on each page
        index.ingest(tmp_path / "docs")
        app = create_app(index, ServeSettings(allow_ingest=True, folder=tmp_path / "index"))
        client = TestClient(app, base_url=HERE)
        response = upload(client, *[(f"../../{path.name}", path.read_bytes()) for path in nasty])
        assert response.status_code == 202, response.text
        statuses: list[int] = []
        stop = threading.Event()

        def search() -> None:
            while not stop.wait(0.2):
                statuses.append(client.post("/v1/search", json={"query": "ferry timetable"}).status_code)

        searching = threading.Thread(target=search)
        searching.start()
        job = wait_for_job(client, response.json()["job"], 400)
        stop.set()
        searching.join()
        app.state.jobs.join()
        assert job["state"] == "done"
        reports = {file["file"]: file for file in job["files"]}
        assert len(reports) == len(nasty)
        failed = {name for name, file in reports.items() if file["status"] == "failed"}
        assert all(reports[name]["error"] for name in failed)
        assert 0 < len(failed) < len(nasty) / 2
        assert set(statuses) == {200}
        kept = {path.name for path in (tmp_path / "index" / "uploads").iterdir()}
        assert kept == reports.keys() - failed
        assert not list(tmp_path.glob("*.pdf"))
        for document in client.get("/v1/documents").json()["documents"]:
            assert client.get(f"/pages/{document['document_id']}/1.jpg?w=160").status_code in (200, 404)


@pytest.mark.slow
def test_many_clients_at_once_while_one_uploads(abused, tmp_path: Path):
    """In one event loop, as in a server: outside a with block, a client has one for each call."""
    with TestClient(without_lifespan(abused), base_url=HERE) as client:
        content = write_pdf(tmp_path / "a.pdf", *[f"page {n} of clocks" for n in range(30)]).read_bytes()
        accepted = upload(client, ("a.pdf", content))
        assert accepted.status_code == 202, accepted.text
        job_id = accepted.json()["job"]
        statuses: list[int] = []

        def ask(n: int) -> None:
            request = {"query": f"clocks {n}", "k": 5}
            statuses.append(client.post("/v1/search", json=request).status_code)
            statuses.append(client.get("/v1/documents").status_code)

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [200] * 40
        assert wait_for_job(client, job_id)["state"] == "done"
