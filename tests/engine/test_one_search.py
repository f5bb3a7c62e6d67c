"""A search by the engine's process is refused where the search of an opened index is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from docrag import Hit, Index, Settings
from docrag.errors import DocragError
from docrag.index import one_search
from docrag.index.one_search import search_index
from docrag.settings import INDEX_OPTIONS

pytestmark = pytest.mark.slow

WANTED = {"query": "What do four red flashes mean?", "k": 1, "mode": "hybrid", "filter": {}}
CONTRADICTIONS = {
    "late": "no-such-model",
    "image": "no-such-model",
    "text": "no-such-model",
    "language": "german",
    "keep_patches": "inked",
    "pooling": "tokens",
    "datatype": "turbo8",
    "shards": 2,
    "replicas": 2,
    "write_consistency": 1,
    "tenant": "metadata.customer",
}


def test_every_setting_that_an_index_may_contradict_is_tried():
    assert set(CONTRADICTIONS) == set(INDEX_OPTIONS)


def outcome(search: Callable[[], list[Hit]]) -> object:
    """The pages that a search finds, or its error."""
    try:
        return [hit.page_id for hit in search()]
    except DocragError as error:
        return type(error), error.message


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_setting_is_treated_as_when_the_index_is_opened(made: Path, name: str):
    settings = Settings(**{"index": str(made), name: CONTRADICTIONS[name]})

    def opened() -> list[Hit]:
        with Index.open(settings=settings, create=False) as index:
            return index.search(**WANTED)

    expected = outcome(opened)
    # minilm reads words and has no patches to leave out, so that it keeps all whatever is asked for.
    assert isinstance(expected, tuple) == (name != "keep_patches")
    assert outcome(lambda: search_index(settings, WANTED, None, None)[0]) == expected


def test_without_such_settings_the_process_answers(made: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(one_search, "_search_here")
    hits, _ = search_index(Settings(index=str(made)), WANTED, None, None)
    assert [hit.page for hit in hits] == [4]
