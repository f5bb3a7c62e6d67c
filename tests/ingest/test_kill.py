"""An ingest that is killed and run again gives the same index; tests/benchmarks/kills.py does it often."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.ingest.kills import differences, ingest_until_killed, snapshot
from tests.samples import APPLE, CLOCK, FERRY, write_pdf

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("docs")
    for i, text in enumerate((FERRY, APPLE, CLOCK)):
        write_pdf(root / f"{i}.pdf", *(f"{text} Chapter {n}." + " more" * n for n in range(40)))
    return root


def test_killed_and_run_again_gives_the_same_index(folder, tmp_path):
    queries = ["ferry timetable", "apple storage", "pendulum chapter 7"]
    whole = tmp_path / "whole" / "index"  # the name of an index is part of its page addresses
    seconds = ingest_until_killed(folder, whole, None).seconds
    expected = snapshot(whole, queries)
    assert len(expected.pages) == expected.count == len(expected.images) == 120
    draw = random.Random(7)
    for attempt in range(3):
        index = tmp_path / str(attempt) / "index"
        killed = ingest_until_killed(folder, index, draw.uniform(0.3, 1.0) * seconds)
        again = ingest_until_killed(folder, index, None)
        assert differences(expected, snapshot(index, queries)) == []
        assert killed.left_over == again.left_over == ()
