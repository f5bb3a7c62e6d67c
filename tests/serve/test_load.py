"""Many clients at once, while documents come and go: each gets what one alone gets."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from docrag import Index
from docrag.serve.app import create_app
from docrag.serve.searches import AT_ONCE
from docrag.serve.settings import ServeSettings
from docrag.settings import load_settings
from tests.samples import APPLE, CLOCK, FERRY, write_pdf
from tests.serve.conftest import HERE
from tests.threads import at_once

CLIENTS = 3 * AT_ONCE
QUESTIONS = ("When does the ferry leave?", "storing apples in winter", "pendulum", "cellars of the harbour")
ALONE = {"mode": "late", "filter": {"file_name": "first.pdf"}}
"""So the score of a page depends on no other page: it stays while others come."""


def test_many_clients_get_what_one_gets_while_documents_come_and_go(tmp_path: Path):
    first = write_pdf(
        tmp_path / "first.pdf", *(f"{(FERRY, APPLE, CLOCK)[n % 3]} Sheet {n}." for n in range(12))
    )
    other = write_pdf(tmp_path / "other.pdf", "A quarry of slate.")
    many = write_pdf(tmp_path / "many.pdf", *(f"Lighthouse number {n}. {FERRY}" for n in range(60)))
    index = Index.open(tmp_path / "index", settings=load_settings(dtype="float32"))  # exact in company, too
    index.ingest([first, other])
    app = create_app(index, ServeSettings(allow_ingest=True, folder=tmp_path / "index"))
    with TestClient(app, base_url=HERE) as client:
        told = [asked(client, question, **ALONE) for question in QUESTIONS]
        assert all(len(words) == 10 and words[0][-1] for words, _ in told), "pages, and regions of each"
        job = client.post("/v1/ingest", files={"files": ("many.pdf", many.read_bytes())}).json()["job"]
        done = threading.Event()

        def ask(number: int) -> int:
            if number == 0:
                return come_and_go(client, job, done)
            rounds = 0
            while rounds < len(QUESTIONS) or not done.is_set():
                n = (number + rounds) % len(QUESTIONS)
                require_same(asked(client, QUESTIONS[n], **ALONE), told[n])
                rounds += 1
            return rounds

        assert min(at_once(CLIENTS, ask)) >= len(QUESTIONS)
        told = [asked(client, question) for question in QUESTIONS]
        for n, answer in enumerate(at_once(CLIENTS, lambda n: asked(client, QUESTIONS[n % len(QUESTIONS)]))):
            require_same(answer, told[n % len(QUESTIONS)])


def come_and_go(client: TestClient, job: str, done: threading.Event) -> int:
    """Wait until an upload is in the index, and remove another document."""
    try:
        until = time.monotonic() + 60
        while client.get(f"/v1/ingest/{job}").json()["state"] != "done":
            assert time.monotonic() < until
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


def asked(client: TestClient, question: str, **more: Any) -> Answer:
    """The pages that are found with the regions that matched, and all the scores."""
    answer = client.post("/v1/search", json={"query": question, **more})
    assert answer.status_code == 200, answer.text
    hits = answer.json()["hits"]
    words = [[h["file"], h["page"], h["text"], [(r["box"], r["text"]) for r in h["regions"]]] for h in hits]
    return words, [one["score"] for hit in hits for one in (hit, *hit["regions"])]


def require_same(answer: Answer, told: Answer) -> None:
    assert answer[0] == told[0]
    assert answer[1] == pytest.approx(told[1], abs=1e-4)
