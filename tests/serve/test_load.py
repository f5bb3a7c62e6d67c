"""Many clients at once while documents are added and removed: each gets what a single client gets."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from docrag import Index
from docrag.serve.app import create_app
from docrag.serve.searches import MAX_CONCURRENT
from docrag.serve.settings import ServeSettings
from docrag.settings import load_settings
from tests.samples import APPLE, CLOCK, FERRY, write_pdf
from tests.serve.conftest import HERE
from tests.threads import at_once

CLIENTS = 3 * MAX_CONCURRENT
QUESTIONS = ("When does the ferry leave?", "storing apples in winter", "pendulum", "cellars of the harbour")
ALONE = {"mode": "late", "filter": {"file_name": "first.pdf"}}
"""With these options the score of a page depends on no other page, so it stays the same."""


@pytest.mark.slow
def test_many_clients_get_what_one_gets_while_documents_change_documents(tmp_path: Path):
    first = write_pdf(
        tmp_path / "first.pdf", *(f"{(FERRY, APPLE, CLOCK)[n % 3]} Sheet {n}." for n in range(12))
    )
    other = write_pdf(tmp_path / "other.pdf", "A quarry of slate.")
    many = write_pdf(tmp_path / "many.pdf", *(f"Lighthouse number {n}. {FERRY}" for n in range(60)))
    index = Index.open(
        tmp_path / "index", settings=load_settings(dtype="float32")
    )  # results do not depend on the batch
    index.ingest([first, other])
    app = create_app(index, ServeSettings(allow_ingest=True, folder=tmp_path / "index"))
    with TestClient(app, base_url=HERE) as client:
        expected = [ask(client, question, **ALONE) for question in QUESTIONS]
        assert all(len(words) == 10 and words[0][-1] for words, _ in expected), "pages, and regions of each"
        job = client.post("/v1/ingest", files={"files": ("many.pdf", many.read_bytes())}).json()["job"]
        done = threading.Event()

        def run_client(number: int) -> int:
            if number == 0:
                return change_documents(client, job, done)
            rounds = 0
            while rounds < len(QUESTIONS) or not done.is_set():
                n = (number + rounds) % len(QUESTIONS)
                require_same(ask(client, QUESTIONS[n], **ALONE), expected[n])
                rounds += 1
            return rounds

        assert min(at_once(CLIENTS, run_client)) >= len(QUESTIONS)
        expected = [ask(client, question) for question in QUESTIONS]
        for n, answer in enumerate(at_once(CLIENTS, lambda n: ask(client, QUESTIONS[n % len(QUESTIONS)]))):
            require_same(answer, expected[n % len(QUESTIONS)])


def change_documents(client: TestClient, job: str, done: threading.Event) -> int:
    """Wait deadline an upload is in the index, and remove another document."""
    try:
        deadline = time.monotonic() + 60
        while client.get(f"/v1/ingest/{job}").json()["state"] != "done":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        [hit] = client.post("/v1/search", json={"query": "lighthouse", "k": 1}).json()["hits"]
        assert hit["file"].endswith("many.pdf")
        [hit] = client.post("/v1/search", json={"query": "slate quarry", "k": 1}).json()["hits"]
        assert client.delete(f"/v1/documents/{hit['document_id']}").json() == {"pages": 1}
        [left] = client.post("/v1/search", json={"query": "slate quarry", "k": 1}).json()["hits"]
        assert left["file"] != hit["file"]
    finally:
        done.set()
    return len(QUESTIONS)


Answer = tuple[list[list[Any]], list[float]]


def ask(client: TestClient, question: str, **options: Any) -> Answer:
    """The pages of a search with their matched regions, and all scores."""
    response = client.post("/v1/search", json={"query": question, **options})
    assert response.status_code == 200, response.text
    hits = response.json()["hits"]
    words = [[h["file"], h["page"], h["text"], [(r["box"], r["text"]) for r in h["regions"]]] for h in hits]
    return words, [scored["score"] for hit in hits for scored in (hit, *hit["regions"])]


def require_same(answer: Answer, expected: Answer) -> None:
    assert answer[0] == expected[0]
    assert answer[1] == pytest.approx(expected[1], abs=1e-4)
