"""How patches are stored and pooled is chosen once, and kept with the index."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from docrag import Index
from docrag.demo import documents
from docrag.errors import IndexMismatch
from docrag.location.directory import FINGERPRINT
from docrag.settings import load_settings

ONE = documents() / "tarn12_manual.pdf"


def open_with(home: Path, **options: str) -> Index:
    return Index.open(home, settings=load_settings(**options))


def fingerprint(home: Path) -> dict:
    return json.loads((home / FINGERPRINT).read_text())


@pytest.mark.slow
def test_datatype_and_pooling_are_kept(tmp_path):
    home = tmp_path / "index"
    with open_with(home, datatype="turbo8", pooling="rows+columns") as index:
        index.ingest(ONE)
        [first, *_] = index.search("What do four red flashes mean?", mode="late")
    kept = fingerprint(home)
    assert (kept["datatype"], kept["pooling"]) == ("turbo8", "rows+columns")
    with open_with(home) as index:
        assert index.search("What do four red flashes mean?", mode="late")[0].page == first.page
    assert fingerprint(home) == kept


@pytest.mark.parametrize("other", [{"datatype": "float32"}, {"pooling": "tokens"}], ids=str)
def test_another_choice_is_a_mismatch(tmp_path, other):
    open_with(tmp_path / "index").close()
    with pytest.raises(IndexMismatch, match=next(iter(other.values()))):
        open_with(tmp_path / "index", **other)


def test_an_older_index_does_not_say(tmp_path):
    home = tmp_path / "index"
    open_with(home).close()
    older = {
        name: value for name, value in fingerprint(home).items() if name not in ("datatype", "keep_patches")
    }
    (home / FINGERPRINT).write_text(json.dumps(older))
    open_with(home, datatype="float16").close()
    with pytest.raises(IndexMismatch):
        open_with(home, datatype="turbo4")
