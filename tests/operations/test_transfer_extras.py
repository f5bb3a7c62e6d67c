"""What goes with the pages of an index that moves: captions that were paid for, and what was tuned."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from docrag import Index, Settings
from docrag.caption.cache import CaptionCache
from docrag.errors import IndexMismatch, StoreError
from docrag.operations.transfer import export_index, import_index
from docrag.search.stages import FILE, Stages, TunedPlan, load_plan, save_plan
from docrag.store.archive import Archive, Contents
from docrag.store.layout import TEXTS, Fingerprint
from tests.samples import APPLE, CLOCK, FERRY, write_pdf

PAGES = 3
PLAN = TunedPlan(Stages({"pooled": 20}, 0), {"pages": PAGES, "recall": 0.99})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of three pages and its export, both without anything beside."""
    home = tmp_path_factory.mktemp("built")
    write_pdf(home / "docs" / "a.pdf", FERRY, APPLE)
    write_pdf(home / "docs" / "b.pdf", CLOCK)
    with Index.open(home / "index", settings=Settings(workers=1)) as index:
        assert index.ingest(home / "docs").pages == PAGES
    return home


@pytest.fixture
def here(built: Path, tmp_path: Path) -> Path:
    """An index by its own, tuned, with a caption of a vision model."""
    export_index(str(built / "index"), built / "export")
    there = tmp_path / "here"
    import_index(built / "export", str(there))
    save_plan(there, PLAN)
    say(there, "page 1", "a ferry")
    return there


def say(home: Path, page: str, caption: str) -> None:
    with closing(CaptionCache(home / "captions.sqlite", "recipe")) as cache:
        cache.put(page, caption)


def said(home: Path, page: str) -> str | None:
    with closing(CaptionCache(home / "captions.sqlite", "recipe")) as cache:
        return cache.get(page)


@pytest.mark.slow
def test_captions_and_plan_arrive(here: Path, tmp_path: Path):
    assert export_index(str(here), tmp_path / "export").captions == 1
    done = import_index(tmp_path / "export", str(tmp_path / "there"))
    assert (done.pages, done.captions, done.left_out) == (PAGES, 1, ())
    assert load_plan(tmp_path / "there") == PLAN
    assert said(tmp_path / "there", "page 1") == "a ferry"
    with Index.open(tmp_path / "there") as index:
        assert index.status().tuning == "on 3 pages, recall 0.990"
    done = import_index(tmp_path / "export", str(tmp_path / "there"))
    assert (done.written, done.captions, done.left_out) == (0, 0, ())


def test_captions_of_the_target_stay(here: Path, tmp_path: Path):
    export_index(str(here), tmp_path / "export")
    there = tmp_path / "there"
    import_index(tmp_path / "export", str(there))
    say(there, "page 1", "a newer one")
    say(there, "page 2", "its own")
    assert import_index(tmp_path / "export", str(there)).captions == 0
    assert (said(there, "page 1"), said(there, "page 2")) == ("a newer one", "its own")


def test_an_export_follows_what_was_tuned_and_said_since(here: Path, tmp_path: Path):
    export_index(str(here), tmp_path / "export")
    say(here, "page 2", "an apple")
    (here / FILE).unlink()
    done = export_index(str(here), tmp_path / "export")
    assert (done.written, done.captions) == (0, 2)
    assert {path.name for path in (tmp_path / "export").iterdir()} == {
        "index.json",
        "part-00000.npz",
        "captions.jsonl",
    }
    there = tmp_path / "there"
    assert import_index(tmp_path / "export", str(there)).captions == 2
    assert load_plan(there) is None


@pytest.mark.slow
def test_a_plan_for_other_pages_is_left_out_and_told(here: Path, tmp_path: Path):
    export_index(str(here), tmp_path / "export")
    there = tmp_path / "there"
    write_pdf(tmp_path / "more" / "c.pdf", "A page that the export has not.")
    import_index(tmp_path / "export", str(there))
    (there / FILE).unlink()
    with Index.open(there, settings=Settings(workers=1)) as index:
        index.ingest(tmp_path / "more")
    [told] = import_index(tmp_path / "export", str(there)).left_out
    assert "search.json: the export has 3 pages and the index 4" in told
    assert load_plan(there) is None


@pytest.mark.slow
def test_a_plan_of_the_target_stays_while_it_fits(here: Path, tmp_path: Path):
    export_index(str(here), tmp_path / "export")
    there, own = tmp_path / "there", TunedPlan(Stages({"pooled": 30}, 0), {"pages": 2})
    import_index(tmp_path / "export", str(there))
    save_plan(there, own)
    [told] = import_index(tmp_path / "export", str(there)).left_out
    assert "the index has been tuned itself" in told
    assert load_plan(there) == own
    save_plan(there, TunedPlan(own.stages, {"pages": 1}))  # and now there are three
    assert import_index(tmp_path / "export", str(there)).left_out == ()
    assert load_plan(there) == PLAN


def test_damaged_captions_are_refused_before_anything_is_written(here: Path, tmp_path: Path):
    export_index(str(here), tmp_path / "export")
    (tmp_path / "export" / "captions.jsonl").write_bytes(b"{}\n")
    with pytest.raises(StoreError, match=r"captions\.jsonl does not have the checksum"):
        import_index(tmp_path / "export", str(tmp_path / "there"))
    with Index.open(tmp_path / "there") as index:
        assert index.status().pages == 0
    export_index(str(here), tmp_path / "export")  # mends it
    assert import_index(tmp_path / "export", str(tmp_path / "there")).captions == 1


def test_a_damaged_plan_is_told_where_it_can_be_removed(here: Path, tmp_path: Path):
    (here / FILE).write_text("{")
    with pytest.raises(StoreError, match=r"here/search\.json is damaged"):
        export_index(str(here), tmp_path / "export")


@pytest.mark.slow
def test_an_export_of_an_older_docrag_still_comes_in(here: Path, tmp_path: Path):
    export_index(str(here), tmp_path / "export")
    path = tmp_path / "export" / "index.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({key: told[key] for key in told if key not in ("beside", "image_base_url")}))
    done = import_index(tmp_path / "export", str(tmp_path / "there"))
    assert (done.pages, done.written, done.captions, done.left_out) == (PAGES, PAGES, 0, ())
    with Index.open(tmp_path / "there") as index:
        assert index.search("ferry timetable", k=1)[0].image_url.startswith("http://127.0.0.1:8000/pages/")


def test_texts_of_a_vector_store_are_no_place_for_pages(tmp_path: Path):
    (notes := tmp_path / "notes").mkdir()
    (notes / "fingerprint.json").write_text(Fingerprint({"layout": TEXTS}).to_json())
    Archive(tmp_path / "export").write_contents(Contents({"layout": 1}, complete=True))
    with pytest.raises(IndexMismatch, match="texts of a vector store"):
        import_index(tmp_path / "export", str(notes))
