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
    outcome = docrag("tune", "--index", demo_uri)
    assert outcome.code == 1
    assert "would gain nothing" in outcome.err
    assert not (demo_uri / FILE).exists()


def test_what_is_chosen_is_kept_and_searched_with(docrag, index):
    outcome = docrag("tune", "--index", index, "--json")
    assert outcome.code == 0
    [tuning] = outcome.lines
    assert tuning["chosen"] in tuning["trials"]
    assert tuning["chosen"]["recall"] >= tuning["recall_asked"] == 0.98
    kept = json.loads((index / FILE).read_text())
    assert kept["prefetch"] == tuning["chosen"]["prefetch"]
    assert kept["measured"]["questions"] == tuning["questions"]
    for mode in ("late", "hybrid"):
        [response] = docrag("search", "lamp blinks red", "--index", index, "--mode", mode, "--json").lines
        assert response["hits"]


@pytest.mark.slow
def test_a_dry_run_changes_nothing(docrag, index, tmp_path):
    questions = tmp_path / "queries.jsonl"
    questions.write_text('{"_id": "1", "text": "What do four red flashes mean?"}\n')
    outcome = docrag("tune", "--index", index, "--queries", questions, "--dry-run", "--compare")
    assert outcome.code == 0
    assert "1 questions" in outcome.out
    assert "exact search" in outcome.out
    for kind in ("pooled by muvera", "patches as turbo8", "quantized to int8, rescored"):
        assert kind in outcome.out
    assert not (index / FILE).exists()


def test_a_damaged_file_is_an_error_that_names_it(docrag, index):
    (index / FILE).write_text("{")
    outcome = docrag("search", "lamp", "--index", index)
    assert outcome.code == 1
    assert FILE in outcome.err.replace("\n", "")
