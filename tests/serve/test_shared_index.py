"""A server is one user of a directory index among several processes: all see the same documents at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from docrag import Index
from tests.samples import CLOCK, write_pdf
from tests.serve.processes import ServerProcess
from tests.serve.uploading import upload

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("engine_process")]

QUESTION = "pendulum of a clock"

Serve = Callable[..., ServerProcess]


def docrag(*arguments: object) -> list[dict[str, Any]]:
    """Run a command in a process of its own; the lines of JSON that it prints."""
    command = [sys.executable, "-m", "docrag", *map(str, arguments), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_a_server_finds_at_once_what_another_process_ingests_and_removes(
    serve: Serve, folder: Path, tmp_path: Path
):
    server = serve()
    clock = write_pdf(tmp_path / "clock.pdf", CLOCK)
    before = server.search(QUESTION)
    assert server.search(QUESTION) == before  # from the cache
    assert "clock.pdf" not in {Path(hit["file"]).name for hit in before}
    docrag("ingest", clock, "--index", folder)
    assert Path(server.search(QUESTION, k=10)[0]["file"]).name == "clock.pdf"
    documents = httpx.get(f"{server.url}/v1/documents").json()["documents"]
    assert [Path(document["file"]).name for document in documents] == ["clock.pdf", "ferry.pdf"]
    docrag("remove", clock, "--index", folder)
    assert server.search(QUESTION) == before
    assert len(httpx.get(f"{server.url}/v1/documents").json()["documents"]) == 1


def test_commands_beside_a_server_find_the_same_pages(serve: Serve, folder: Path):
    server = serve()
    [response] = docrag("search", QUESTION, "--index", folder)
    known = ("rank", "score", "scores", "file", "page", "page_id", "text", "regions")
    assert [{name: hit[name] for name in known} for hit in server.search(QUESTION)] == response["hits"]
    [status] = docrag("status", "--index", folder)
    assert status["pages"] == 2


def test_two_servers_of_one_index_know_each_other_s_uploads(serve: Serve, folder: Path, tmp_path: Path):
    first, second = serve("--allow-ingest"), serve("--allow-ingest")
    assert len(second.search(QUESTION)) == 2
    first.upload(write_pdf(tmp_path / "clock.pdf", CLOCK))
    hits = second.search(QUESTION)
    assert Path(hits[0]["file"]).name == "clock.pdf"
    address = f"{second.url}/v1/documents/{hits[0]['document_id']}"
    assert httpx.delete(address, timeout=60).json() == {"pages": 1}
    assert len(first.search(QUESTION)) == 2


def test_two_handles_of_one_process_share_an_index(folder: Path, started, tmp_path: Path):
    client = started()
    question = {"query": QUESTION, "k": 1}
    assert client.post("/v1/search", json=question).json()["hits"]
    with Index.open(folder, create=False) as other:
        other.ingest(write_pdf(tmp_path / "clock.pdf", CLOCK))
        [hit] = client.post("/v1/search", json=question).json()["hits"]
        assert Path(hit["file"]).name == "clock.pdf"
        assert other.search(QUESTION, k=1)[0].page_id == hit["page_id"]
    assert upload(client, ("again.pdf", (tmp_path / "clock.pdf").read_bytes())).status_code == 202
