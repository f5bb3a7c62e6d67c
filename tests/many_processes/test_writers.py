"""Processes that change one index take turns, and neither killed engines nor readers cost anything."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from docrag import Index, Settings
from docrag.operations.stop import stop_engine
from tests.benchmarks.many_processes import engine_pid
from tests.ingest.kills import differences, snapshot
from tests.read_only import mounted_read_only
from tests.samples import APPLE, CLOCK, FERRY, write_pdf

pytestmark = pytest.mark.slow

QUESTION = "What do four red flashes mean?"
MANUAL = "tarn12_manual.pdf"
MOST_KILLS = 3
QUERIES = ["ferry timetable", "apple storage", "pendulum chapter 7"]


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """Three documents of 20 pages."""
    folder = tmp_path / "documents"
    for number, text in enumerate((FERRY, APPLE, CLOCK)):
        pages = [f"{text} Chapter {page}." + " more" * page for page in range(20)]
        write_pdf(folder / f"{number}.pdf", *pages)
    return folder


@pytest.fixture
def new_index(tmp_path: Path) -> Iterator[Path]:
    """Where an index can be made."""
    yield tmp_path / "index"
    stop_engine(Settings(index=str(tmp_path / "index")))


@contextmanager
def ingesting(folder: Path, index: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of `docrag ingest`, which is killed if it is still there at the end."""
    command = [sys.executable, "-m", "docrag", "ingest", str(folder), "--index", str(index), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(process: subprocess.Popen[str]) -> dict[str, object]:
    """The summary of an ingest once it has ended."""
    output, complaints = process.communicate(timeout=120)
    assert process.returncode == 0, complaints
    summary: dict[str, object] = json.loads(output.splitlines()[-1])["summary"]
    return summary


def test_a_second_ingest_waits_for_its_turn_and_says_for_whom(new_index: Path, tmp_path: Path):
    late = write_pdf(tmp_path / "other" / "late.pdf", "The lighthouse keeper writes a diary.")
    with Index.open(new_index) as opened:
        with ExitStack() as stack:
            with opened._storage.exclusive():
                second = stack.enter_context(ingesting(late.parent, new_index))
                assert second.stderr is not None
                line = next(line for line in iter(second.stderr.readline, "") if "waiting" in line)
                assert str(os.getpid()) in line
                assert opened.search("lighthouse") == []  # searches go on
                assert second.poll() is None
            assert finish(second)["added"] == 1
        assert opened.search("lighthouse")[0].page == 1


def test_two_ingests_at_once_lose_nothing(documents: Path, new_index: Path, tmp_path: Path):
    others = tmp_path / "others"
    for number in range(3):
        write_pdf(others / f"{number}.pdf", f"Lighthouse {number} needs a new lamp.")
    Index.open(new_index).close()
    with ingesting(documents, new_index) as one, ingesting(others, new_index) as other:
        added = [finish(process)["added"] for process in (one, other)]
    assert added == [3, 3]
    with Index.open(new_index, create=False) as opened:
        assert opened.status().pages == 63
        best = opened.search("lighthouse lamp", k=3, mode="text")
        assert all("Lighthouse" in hit.text for hit in best)


def test_an_ingest_whose_engine_is_killed_gives_the_same_index(
    documents: Path, new_index: Path, tmp_path: Path
):
    with Index.open(tmp_path / "whole" / new_index.name, settings=Settings(in_process=True)) as opened:
        opened.ingest(documents)
        opened.close()
    expected = snapshot(tmp_path / "whole" / new_index.name, QUERIES)
    stop_engine(Settings(index=str(tmp_path / "whole" / new_index.name)))
    draw, kills = random.Random(7), 0
    Index.open(new_index).close()
    with ingesting(documents, new_index) as process:
        while process.poll() is None:
            time.sleep(draw.uniform(0.5, 1.5))
            pid = engine_pid(new_index)
            if pid and kills < MOST_KILLS:
                os.kill(pid, signal.SIGKILL)
                kills += 1
        assert finish(process)["added"] == 3
    assert kills
    assert differences(expected, snapshot(new_index, QUERIES)) == []


def test_an_index_is_searched_where_it_cannot_be_written_while_others_write(
    documents: Path, index: Path, tmp_path: Path
):
    with Index.open(index, create=False) as opened:
        [expected] = opened.search(QUESTION, k=1, mode="late", filter={"file_name": MANUAL})
    with mounted_read_only(index, tmp_path / "mount") as mount, ingesting(documents, index) as process:
        pages = []
        while process.poll() is None or len(pages) < 3:
            with Index.open(mount, create=False) as opened:
                [hit] = opened.search(QUESTION, k=1, mode="late", filter={"file_name": MANUAL})
                assert (hit.page_id, hit.score) == (expected.page_id, pytest.approx(expected.score, abs=2e-2))
                assert hit.image().size == expected.image().size
                pages.append(opened.status().pages)
        assert finish(process)["added"] == 3
        with Index.open(mount, create=False) as opened:
            pages.append(opened.status().pages)
    assert pages == sorted(pages)
    assert pages[-1] == 75
