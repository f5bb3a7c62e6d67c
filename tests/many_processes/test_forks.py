"""An index that was opened, and used, before the process was forked or sent handles to others."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from docrag import Index

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),  # that it forks
]

QUESTION = "What do four red flashes mean?"
WORKERS = 4
APPLICATION = f"""
import json
import os
from docrag import Index

index = Index.open(os.environ["DOCRAG_INDEX"], create=False)
index.search({QUESTION!r})

def app(environ, start_response):
    hit = index.search({QUESTION!r}, k=1)[0]
    body = json.dumps({{"pid": os.getpid(), "page": hit.page}}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
"""


def search(index: Index, question: str) -> tuple[int, list[str]]:
    return os.getpid(), [hit.page_id for hit in index.search(question)]


def search_forked(question: str) -> tuple[int, list[str]]:
    return search(_forked[-1], question)


_forked: list[Index] = []
"""The index of the parent, as children find it that were forked."""


@contextmanager
def gunicorn(application: Path, index: Path) -> Iterator[str]:
    """The address of an application that is loaded before the workers are forked."""
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", str(WORKERS)]
    environment = os.environ | {"DOCRAG_INDEX": str(index)}
    with subprocess.Popen(
        [*command, "--bind", "127.0.0.1:0", "--chdir", application.parent, f"{application.stem}:app"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            yield next(found[0] for line in lines if (found := re.search(r"http://127\S+:\d+", line)))
        finally:
            process.send_signal(signal.SIGQUIT)
            process.communicate(timeout=30)


def test_every_worker_of_gunicorn_answers_that_loads_the_application_first(index: Path, tmp_path: Path):
    pytest.importorskip("gunicorn")
    application = tmp_path / "preloaded.py"
    application.write_text(APPLICATION)
    workers: set[int] = set()
    deadline = time.monotonic() + 60
    with gunicorn(application, index) as url:
        while len(workers) < WORKERS and time.monotonic() < deadline:
            answer = httpx.get(url, timeout=30).json()  # a new connection, so any worker may take it
            assert answer["page"] == 4
            workers.add(answer["pid"])
    assert len(workers) == WORKERS


def test_a_pool_that_is_forked_after_opening_answers(index: Path):
    with Index.open(index, create=False) as opened:
        _, expected = search(opened, QUESTION)
        _forked.append(opened)
        with multiprocessing.get_context("fork").Pool(3) as pool:
            answers = pool.map_async(search_forked, [QUESTION] * 12, chunksize=1).get(60)
        assert [pages for _, pages in answers] == [expected] * 12
        assert os.getpid() not in {pid for pid, _ in answers}
        assert search(opened, QUESTION)[1] == expected


def test_a_pool_that_is_spawned_takes_the_handle(index: Path):
    with Index.open(index, create=False) as opened:
        _, expected = search(opened, QUESTION)
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            answers = pool.map_async(partial(search, opened), [QUESTION] * 4, chunksize=1).get(60)
        assert [pages for _, pages in answers] == [expected] * 4


def test_children_may_close_their_handle_and_the_parent_goes_on(index: Path):
    def close_and_search() -> None:
        opened.close()
        with Index.open(index, create=False) as own:
            assert own.search(QUESTION)

    context = multiprocessing.get_context("fork")
    with Index.open(index, create=False) as opened:
        opened.search(QUESTION)
        children = [context.Process(target=close_and_search) for _ in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join(60)
        assert [child.exitcode for child in children] == [0, 0]
        assert opened.search(QUESTION)
