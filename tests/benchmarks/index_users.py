"""The processes that share one index in `many_processes`: what each does, and what it holds to be wrong."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from docrag import Hit, Index
from tests.ingest.kills import Ranking, unlike
from tests.samples import write_pdf

FACE_PATIENCE = 60.0
"""Seconds that a command may take to come up beside all the others."""
CHANGING = "changing-"
"""How the names of files that come and go begin; a number follows."""
MOST_VIOLATIONS = 5
"""Violations of one process that are kept; all are counted."""


@dataclass(frozen=True)
class Question:
    """A question whose answer does not depend on what is ingested meanwhile."""

    query: str
    mode: str
    files: tuple[str, ...]
    """Only these files are searched; they stay in the index."""
    expected: Ranking = ()

    def options(self, k: int = 10) -> dict[str, Any]:
        """The arguments of a search, whichever face it goes through."""
        return {"query": self.query, "k": k, "mode": self.mode, "filter": {"file_name": list(self.files)}}

    def check(self, found: Ranking) -> None:
        """Compare an answer with the expected one.

        Raises:
            AssertionError: They differ by more than rounding.
        """
        lines = unlike(self.expected[: len(found)], found) if found else ["nothing was found"]
        assert not lines, f"{self.mode}: {self.query}: {'; '.join(lines)}"


@dataclass(frozen=True)
class Signals:
    """What the process that starts all others and these say to each other; it can be sent to them."""

    stop: Any
    """An Event: set when all are to end."""
    started: Any
    """A Semaphore, which each process releases when it is ready to make its first call."""


@dataclass
class Outcome:
    """What one process has done."""

    role: str
    calls: int = 0
    slowest: float = 0.0
    """Seconds of the longest call."""
    violation_count: int = 0
    violations: list[str] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    """The files that the last ingest has acknowledged."""

    def attempt(self, call: Callable[[], None]) -> None:
        """Make a call, and note how long it takes and what is wrong with it."""
        started = time.monotonic()
        try:
            call()
        except Exception:  # noqa: BLE001  whatever it is, nobody may see it
            self.violation_count += 1
            if len(self.violations) < MOST_VIOLATIONS:
                self.violations.append(traceback.format_exc(limit=-6))
        self.calls += 1
        self.slowest = max(self.slowest, time.monotonic() - started)


def ranking(hits: Sequence[Hit]) -> Ranking:
    """Page ids and scores."""
    return tuple((hit.page_id, hit.score) for hit in hits)


def json_ranking(hits: Sequence[dict[str, Any]]) -> Ranking:
    """Page ids and scores of hits in JSON."""
    return tuple((hit["page_id"], hit["score"]) for hit in hits)


def search_with_one_handle(
    index: Path, questions: Sequence[Question], signals: Signals, seed: int
) -> Outcome:
    """Search as a program does that keeps its index open."""
    outcome, draw = Outcome("search, one handle"), random.Random(seed)
    with Index.open(index, create=False) as opened:

        def search(question: Question) -> None:
            question.check(ranking(opened.search(**question.options())))

        signals.started.release()
        while not signals.stop.is_set():
            outcome.attempt(partial(search, draw.choice(questions)))
    return outcome


def search_with_new_handles(
    index: Path, questions: Sequence[Question], signals: Signals, seed: int
) -> Outcome:
    """Search as a program does that opens the index for each question."""
    outcome, draw = Outcome("search, new handles"), random.Random(seed)

    def search(question: Question) -> None:
        with Index.open(index, create=False) as opened:
            question.check(ranking(opened.search(**question.options())))

    signals.started.release()
    while not signals.stop.is_set():
        outcome.attempt(partial(search, draw.choice(questions)))
    return outcome


def ingest(index: Path, folder: Path, signals: Signals, seed: int) -> Outcome:
    """Add, change and remove files of a folder, and ingest it each time; the last round is completed."""
    outcome, draw, numbers = Outcome("ingest"), random.Random(seed), iter(range(10**6))

    def bring_up_to_date(opened: Index) -> None:
        report = opened.ingest(folder, prune=True)
        assert not report.failures, report.failures
        outcome.acknowledged = sorted(str(path) for path in folder.iterdir())
        stored = {document.file for document in opened.documents()}
        missing = set(outcome.acknowledged) - stored
        assert not missing, f"acknowledged and not in the index: {sorted(missing)}"

    with Index.open(index, create=False) as opened:
        signals.started.release()
        while not signals.stop.is_set():
            existing = sorted(folder.iterdir())
            for path in draw.sample(existing, min(len(existing) // 2, 3)):
                path.unlink()
            for number in (next(numbers), next(numbers)):
                pages = [f"{marker(number)} is on page {page} of this file." for page in range(1, 5)]
                write_pdf(folder / f"{CHANGING}{number}.pdf", *pages)
            outcome.attempt(lambda: bring_up_to_date(opened))
    return outcome


def marker(number: int) -> str:
    """A word that stands in one file only."""
    letters = "bcdfghjklmnpqrstvwxz"
    digits = [number // len(letters) ** place % len(letters) for place in range(4)]
    return "quo" + "a".join(letters[digit] for digit in digits)


def ask_status(index: Path, least_pages: int, signals: Signals) -> Outcome:
    """Run `docrag status` again and again."""
    outcome = Outcome("docrag status")

    def ask() -> None:
        command = [sys.executable, "-m", "docrag", "status", "--index", str(index), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=FACE_PATIENCE, check=False)
        assert done.returncode == 0, done.stderr
        status = json.loads(done.stdout)
        assert status["pages"] >= least_pages, f"{status['pages']} pages"

    signals.started.release()
    while not signals.stop.is_set():
        outcome.attempt(ask)
        signals.stop.wait(0.5)
    return outcome


def ask_server(index: Path, questions: Sequence[Question], signals: Signals, seed: int) -> Outcome:
    """Start `docrag serve`, and search through its HTTP API."""
    outcome, draw = Outcome("docrag serve"), random.Random(seed)
    command = [sys.executable, "-m", "docrag", "serve", "--index", str(index), "--port", "0", "--json"]
    with running(command) as process, httpx.Client(timeout=FACE_PATIENCE) as client:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]

        def ask(question: Question) -> None:
            response = client.post(f"{url}/v1/search", json=question.options())
            assert response.status_code == httpx.codes.OK, f"HTTP {response.status_code}: {response.text}"
            question.check(json_ranking(response.json()["hits"]))

        signals.started.release()
        while not signals.stop.is_set():
            outcome.attempt(partial(ask, draw.choice(questions)))
    return outcome


def ask_assistant(index: Path, questions: Sequence[Question], signals: Signals, seed: int) -> Outcome:
    """Start `docrag mcp` over stdio, and search with its tool."""
    outcome, draw = Outcome("docrag mcp"), random.Random(seed)
    with mcp_session(index) as call:

        def ask(question: Question) -> None:
            result = call("search_pages", question.options())
            assert not result.get("isError"), result
            question.check(json_ranking(result["structuredContent"]["hits"]))

        signals.started.release()
        while not signals.stop.is_set():
            outcome.attempt(partial(ask, draw.choice(questions)))
    return outcome


@contextmanager
def mcp_session(index: Path) -> Iterator[Callable[[str, dict[str, Any]], dict[str, Any]]]:
    """A process of `docrag mcp`, and a function that calls a tool of it and gives the result."""
    with running([sys.executable, "-m", "docrag", "mcp", "--index", str(index)]) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        writing, reading = process.stdin, process.stdout
        count = 0

        def send(method: str, **message: Any) -> None:
            writing.write(json.dumps({"jsonrpc": "2.0", "method": method, **message}) + "\n")
            writing.flush()

        def request(method: str, params: dict[str, Any]) -> dict[str, Any]:
            nonlocal count
            count += 1
            send(method, id=count, params=params)
            while True:
                line = reading.readline()
                assert line, "the server has ended"
                answer = json.loads(line)
                if answer.get("id") == count:
                    assert "result" in answer, answer
                    result: dict[str, Any] = answer["result"]
                    return result

        client = {"name": "many_processes", "version": "1"}
        request("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client})
        send("notifications/initialized")
        yield lambda tool, arguments: request("tools/call", {"name": tool, "arguments": arguments})


@contextmanager
def running(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A process with pipes to its standard input and output, which is ended at the end."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
