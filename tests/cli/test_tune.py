"""docrag tune on the demo index, which is small."""

from __future__ import annotations

import json

import pytest

from docrag.search.stages import FILE
from docrag.tuning import tune as flow


@pytest.fixture
def index(demo_copy, monkeypatch):
    """A copy of the demo index that is not too small to tune."""
    monkeypatch.setattr(flow, "FEWEST_PAGES", 5)
    return demo_copy()


def test_a_small_index_needs_no_tuning(docrag, demo_uri):
    done = docrag("tune", "--index", demo_uri)
    assert done.code == 1
    assert "nothing is gained" in done.err
    assert not (demo_uri / FILE).exists()


def test_what_is_chosen_is_kept_and_searched_with(docrag, index):
    done = docrag("tune", "--index", index, "--json")
    assert done.code == 0
    [told] = done.lines
    assert told["chosen"] in told["trials"]
    assert told["chosen"]["recall"] >= told["recall_asked"] == 0.98
    kept = json.loads((index / FILE).read_text())
    assert kept["prefetch"] == told["chosen"]["prefetch"]
    assert kept["measured"]["questions"] == told["questions"]
    for mode in ("late", "hybrid"):
        [found] = docrag("search", "lamp blinks red", "--index", index, "--mode", mode, "--json").lines
        assert found["hits"]


def test_a_dry_run_changes_nothing(docrag, index, tmp_path):
    questions = tmp_path / "queries.jsonl"
    questions.write_text('{"_id": "1", "text": "What do four red flashes mean?"}\n')
    done = docrag("tune", "--index", index, "--queries", questions, "--dry-run", "--compare")
    assert done.code == 0
    assert "1 questions" in done.out
    assert "exact search" in done.out
    for kind in ("pooled by muvera", "patches as turbo8", "quantized to int8, rescored"):
        assert kind in done.out
    assert not (index / FILE).exists()


def test_a_damaged_file_is_an_error_that_names_it(docrag, index):
    (index / FILE).write_text("{")
    done = docrag("search", "lamp", "--index", index)
    assert done.code == 1
    assert FILE in done.err.replace("\n", "")
