"""Commands on a Qdrant server that is away, full or unwell."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome
from tests.samples import APPLE, FERRY, write_pdf
from tests.store.fake_qdrant import FakeQdrant, Fault

FULL = "Service internal error: No space left on device: WAL buffer size exceeds available disk space"
Docrag = Callable[..., Outcome]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeQdrant]:
    with FakeQdrant() as server:
        yield server


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, server: FakeQdrant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collection and a folder for each test."""
    monkeypatch.setenv("DOCRAG_INDEX", f"{server.uri}-{tmp_path.name[-20:]}")
    monkeypatch.setenv("DOCRAG_FILES", str(tmp_path / "files"))
    monkeypatch.setenv("DOCRAG_WORKERS", "1")
    monkeypatch.setenv("DOCRAG_SERVER_WRITE_TIMEOUT", "1")
    write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY, "Page two: fares of the ferry.")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "code_words"),
    [(Fault(500, words=FULL), "No space left on device"), (Fault(503, words="starting"), "answered 503")],
)
def test_an_ingest_that_gives_up_says_what_is_stored_and_goes_on(
    docrag: Docrag, server: FakeQdrant, tmp_path: Path, fault: Fault, code_words: str
):
    assert docrag("ingest", tmp_path / "docs").code == 0
    write_pdf(tmp_path / "docs" / "apple.pdf", APPLE)
    server.faulty_method, server.faults = "PUT", [fault] * 20
    outcome = docrag("ingest", tmp_path / "docs", "--json")
    server.faults = []
    assert outcome.code == 1
    assert [line["status"] for line in outcome.lines] == ["unchanged"]  # and no summary
    said = " ".join(outcome.err.split())
    assert "stored so far: 1 documents with 2 pages; the same command goes on from there" in said
    assert code_words in said
    assert "hint:" in said
    again = docrag("ingest", tmp_path / "docs", "--json")
    assert again.code == 0
    assert {(Path(line["file"]).name, line["status"]) for line in again.lines[:-1]} == {
        ("ferry.pdf", "unchanged"),
        ("apple.pdf", "added"),
    }
    assert again.lines[-1]["summary"]["added"] == 1


@pytest.mark.slow
def test_status_and_doctor_tell_that_a_collection_is_unwell(
    docrag: Docrag, server: FakeQdrant, tmp_path: Path
):
    assert docrag("ingest", tmp_path / "docs").code == 0
    assert "health" not in docrag("status").out
    healthy = json.loads(docrag("status", "--json").out)["health"]
    assert healthy == {"status": "green", "error": "", "inactive_replicas": []}
    error = "Optimization error: Not enough space available for optimization"
    server.states = {"status": "red", "optimizer_status": {"error": error}}
    server.cluster = {
        "peer_id": 11,
        "shard_count": 1,
        "local_shards": [{"shard_id": 0, "points_count": 2, "state": "Active"}],
        "remote_shards": [{"shard_id": 0, "peer_id": 22, "state": "Dead"}],
        "shard_transfers": [],
    }
    try:
        lines = [line for line in docrag("status").out.splitlines() if line.startswith("health")]
        assert ["red" in lines[0], error in lines[1], "shard 0 on peer 22" in lines[2]] == [True] * 3
        told = json.loads(docrag("status", "--json").out)["health"]
        assert told == {
            "status": "red",
            "error": error,
            "inactive_replicas": [{"shard": 0, "peer": 22, "state": "Dead"}],
        }
        assert error in docrag("doctor").out
    finally:
        server.states, server.cluster = {}, None


def test_a_server_that_is_away_is_told_in_plain_words(docrag: Docrag, monkeypatch: pytest.MonkeyPatch):
    """The address is the one that the user gave, and may be named."""
    monkeypatch.setenv("DOCRAG_INDEX", "http://127.0.0.1:9/reports")
    monkeypatch.setenv("DOCRAG_SERVER_TIMEOUT", "1")
    outcome = docrag("search", "ferry")
    assert outcome.code == 1
    said = " ".join(outcome.err.split())
    assert "error: http://127.0.0.1:9: the connection was refused" in said
    assert "is Qdrant running there" in said
    assert "Errno" not in said
