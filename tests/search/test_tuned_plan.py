"""What was tuned is kept whole, and holds until the index has outgrown it."""

from __future__ import annotations

import json

import pytest

from docrag.errors import StoreError
from docrag.search.stages import FILE, Stages, TunedPlan, load_plan, save_plan, stages_for
from docrag.types import POOLED

PLAN = TunedPlan(Stages({POOLED: 40}, 200), {"pages": 1000, "recall": 0.985})


def test_a_plan_comes_back(tmp_path):
    assert load_plan(tmp_path) is None
    save_plan(tmp_path, PLAN)
    assert load_plan(tmp_path) == PLAN
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("pages", [0, 1000, 2000])
def test_a_plan_holds_up_to_twice_the_pages(tmp_path, pages):
    save_plan(tmp_path, PLAN)
    assert stages_for(tmp_path, lambda: pages) == PLAN.stages
    assert PLAN.describe(pages) == "on 1000 pages, recall 0.985"


def test_an_index_that_has_outgrown_its_plan_is_searched_as_its_size_asks_for(tmp_path):
    save_plan(tmp_path, PLAN)
    for pages in (2001, 20_000):
        assert stages_for(tmp_path, lambda: pages) == Stages.for_pages(pages)  # noqa: B023
        assert f"too few for {pages}" in PLAN.describe(pages)


def test_without_a_plan_the_defaults_are_taken(tmp_path):
    assert stages_for(tmp_path, lambda: 50_000) == Stages.for_pages(50_000)


GOOD = {"prefetch": {"pooled": 40}, "sieve": 0, "measured": {"pages": 300}}
BAD = [{**GOOD, "measured": {}}, {**GOOD, "sieve": None}, {**GOOD, "prefetch": 3}, {}, [], None]


@pytest.mark.parametrize("text", [*map(json.dumps, BAD), "{", ""])
def test_a_damaged_plan_is_named(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(StoreError, match=r"search\.json is damaged") as caught:
        load_plan(tmp_path)
    assert "remove it" in caught.value.hint
