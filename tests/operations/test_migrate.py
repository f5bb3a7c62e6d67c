"""An index is built anew beside the old one, which answers until the switch; kills lose nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from docrag import Index, Settings
from docrag.errors import IndexInUse, IndexNotFound, SettingsError, StoreError
from docrag.ingest.writer import Writer
from docrag.location.resolve import locate
from docrag.operations.migrate import abandon_migration, migrate_index
from tests.samples import APPLE, CLOCK, FERRY, later, write_pdf
from tests.store.fake_qdrant import FakeQdrant

pytestmark = pytest.mark.slow

QUERIES = ("When does the ferry leave?", "pendulum", "apple storage")


class Killed(BaseException):
    """Ends a migration in its middle; nothing catches it."""


@pytest.fixture
def server() -> Iterator[FakeQdrant]:
    with FakeQdrant() as server:
        yield server


@pytest.fixture(params=["directory", "server"])
def settings(request: pytest.FixtureRequest, server: FakeQdrant, tmp_path: Path) -> Settings:
    uri = server.uri if request.param == "server" else str(tmp_path / "index")
    return Settings(index=uri, files=str(tmp_path / "files"), workers=1)


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ingested by relative paths."""
    write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY, CLOCK)
    write_pdf(tmp_path / "docs" / "apple.pdf", APPLE)
    monkeypatch.chdir(tmp_path)
    return Path("docs")


@pytest.fixture
def index(settings: Settings, docs: Path) -> Settings:
    with Index.open(settings=settings) as opened:
        opened.ingest(docs)
    return settings


def other(settings: Settings) -> Settings:
    return settings.model_copy(update={"pooling": "rows+columns", "datatype": "float32"})


def answers(settings: Settings) -> list[list[tuple[str, int, str]]]:
    with Index.open(settings=settings, create=False) as index:
        hits = [index.search(query, k=3) for query in QUERIES]
        assert all(hit.image().size for found in hits for hit in found)
        return [[(hit.file, hit.page, hit.page_id) for hit in found] for found in hits]


def built(settings: Settings) -> str:
    with closing(locate(settings)) as place:
        told = place.fingerprint()
        assert told is not None
        return f"{told.values['pooling']} {told.values['datatype']}"


def home(settings: Settings) -> Path:
    with closing(locate(settings)) as place:
        return place.folder


def test_an_index_is_built_anew(index: Settings, docs: Path, server: FakeQdrant):
    before = answers(index)
    (home(index) / "search.json").write_text('{"prefetch": {"pooled": 3}, "sieve": 0}')
    (home(index) / "images" / "stray").write_text("of the old index")
    done = migrate_index(settings=other(index))
    assert (done.switched, done.pages, done.report.pages, done.dropped, done.kept) == (True, 3, 3, (), "")
    assert built(index) == "rows+columns float32"
    assert answers(index) == before
    left = {path.name for path in home(index).iterdir()}
    assert not left & {".migration", "search.json"}
    assert not (home(index) / "images" / "stray").exists()
    with Index.open(settings=index) as opened:
        assert {file.status for file in opened.ingest(docs).files} == {"unchanged"}
        assert opened.status().pages == 3
    collections = {told.name for told in server.db.get_collections().collections}
    assert collections <= {"reports--2"}
    again = migrate_index(settings=other(index))
    assert (again.switched, again.report.pages) == (False, 0)


def test_models_may_be_others(index: Settings, checkpoint: Callable[[str], str]):
    migrate_index(settings=index, late=checkpoint("colqwen2"), image=checkpoint("clip"))
    with Index.open(settings=index) as opened:
        fingerprint = opened.status().fingerprint
        assert (fingerprint["late"]["family"], fingerprint["image"]["family"]) == ("colqwen2", "clip")
        assert opened.search("ferry", k=1, mode="cosine")
    migrate_index(settings=index, image="none")
    with Index.open(settings=index) as opened:
        assert opened.status().fingerprint["image"] is None


def test_the_old_index_answers_until_the_switch(index: Settings, monkeypatch: pytest.MonkeyPatch):
    before, seen = answers(index), []

    def look(event: object) -> None:
        seen.append((answers(index), built(index)))

    migrate_index(settings=other(index), listener=look)
    assert seen
    assert all(one == (before, "rows float16") for one in seen)


def test_nothing_else_changes_the_index_meanwhile(index: Settings, docs: Path):
    refused = []

    def change(event: object) -> None:
        with Index.open(settings=index) as opened:
            for attempt in (lambda: opened.ingest(docs), lambda: opened.remove(docs / "apple.pdf")):
                with pytest.raises(IndexInUse, match="being written"):
                    attempt()
                refused.append(True)
        with pytest.raises(IndexInUse, match="being written"):
            migrate_index(settings=other(index))

    migrate_index(settings=other(index), listener=change)
    assert refused


def test_the_old_index_may_be_kept(index: Settings, docs: Path):
    before = answers(index)
    done = migrate_index(settings=other(index), keep_old=True)
    kept = index.model_copy(update={"index": done.kept})
    assert done.kept.endswith("--1")
    assert built(kept) == "rows float16"
    assert answers(kept) == answers(index) == before
    with Index.open(settings=kept) as opened:
        assert {file.status for file in opened.ingest(docs).files} == {"unchanged"}
    back = migrate_index(settings=index.model_copy(update={"pooling": "rows", "datatype": "float16"}))
    assert (back.pages, back.report.pages) == (3, 3)  # the kept one is no draft
    assert answers(index) == before


def test_files_that_are_gone_are_not_lost_silently(index: Settings, docs: Path):
    before = answers(index)
    (docs / "apple.pdf").rename("apple.away")
    with pytest.raises(StoreError, match=r"1 of its pages.*: docs/apple.pdf \(1 page\)") as caught:
        migrate_index(settings=other(index))
    assert "--drop-missing" in caught.value.hint
    assert (answers(index), built(index)) == (before, "rows float16")
    Path("apple.away").rename(docs / "apple.pdf")
    back = migrate_index(settings=other(index))
    assert (back.report.pages, back.pages, back.dropped) == (1, 3, ())  # what was read is not read again
    assert answers(index) == before


def test_what_is_missing_may_be_dropped(index: Settings, docs: Path):
    (docs / "apple.pdf").unlink()
    (docs / "ferry.pdf").write_bytes(b"no longer a PDF")
    with pytest.raises(StoreError, match=r"3 of its pages.*apple.pdf.*; docs/ferry.pdf"):
        migrate_index(settings=other(index))
    write_pdf(docs / "ferry.pdf", FERRY, CLOCK)
    done = migrate_index(settings=other(index), drop_missing=True)
    assert (done.pages, len(done.dropped)) == (2, 1)
    assert "docs/apple.pdf (1 page): " in done.dropped[0]


def test_a_changed_file_gives_its_new_pages(index: Settings, docs: Path):
    later(write_pdf(docs / "apple.pdf", "Quince and medlar.", CLOCK, "Pear."))
    assert migrate_index(settings=other(index)).pages == 5
    with Index.open(settings=index) as opened:
        assert {file.status for file in opened.ingest(docs).files} == {"unchanged"}


def test_pages_of_others_are_not_lost_silently(index: Settings, docs: Path, tmp_path: Path):
    shutil.rmtree(home(index) / "images")
    (home(index) / "manifest.sqlite").unlink()
    with pytest.raises(StoreError, match=r"3 of its pages.*not ingested from here"):
        migrate_index(settings=other(index))


def test_a_migration_may_be_abandoned(index: Settings, docs: Path, server: FakeQdrant):
    before = answers(index)
    (docs / "apple.pdf").unlink()
    with pytest.raises(StoreError):
        migrate_index(settings=other(index))
    abandon_migration(settings=index)
    assert not (home(index) / ".migration").exists()
    assert {told.name for told in server.db.get_collections().collections} <= {"reports--1"}
    assert answers(index) == before


def test_what_was_begun_for_other_models_is_thrown_away(index: Settings, docs: Path, server: FakeQdrant):
    (docs / "apple.pdf").rename("apple.away")
    with pytest.raises(StoreError):
        migrate_index(settings=other(index))
    Path("apple.away").rename(docs / "apple.pdf")
    done = migrate_index(settings=index.model_copy(update={"pooling": "tokens"}))
    assert (done.report.pages, built(index)) == (3, "tokens float16")
    assert len(server.db.get_collections().collections) <= 1


def test_what_is_left_of_a_draft_that_was_being_thrown_away_is_no_draft(index: Settings, docs: Path):
    (docs / "apple.pdf").rename("apple.away")
    with pytest.raises(StoreError):
        migrate_index(settings=other(index))
    Path("apple.away").rename(docs / "apple.pdf")
    for note in ("fingerprint.json", "draft.json"):  # killed when only one of them was gone
        (home(index) / ".migration" / note).unlink(missing_ok=True)
    done = migrate_index(settings=other(index))
    assert (done.switched, done.report.pages, done.pages) == (True, 3, 3)


def test_pages_that_a_server_lost_of_a_draft_are_read_again(index: Settings, docs: Path, server: FakeQdrant):
    if "://" not in index.index:
        return
    (docs / "apple.pdf").rename("apple.away")
    with pytest.raises(StoreError):
        migrate_index(settings=other(index))
    Path("apple.away").rename(docs / "apple.pdf")
    server.db.delete_collection("reports--2")
    done = migrate_index(settings=other(index))
    assert (done.switched, done.report.pages, done.pages) == (True, 3, 3)


def test_captions_of_a_vision_model_are_not_forgotten(index: Settings):
    (home(index) / "captions.sqlite").write_bytes(b"")
    with pytest.raises(SettingsError, match="captions of a vision model"):
        migrate_index(settings=other(index))
    migrate_index(settings=Settings(**other(index).model_dump(exclude_unset=True), caption="text"))
    assert (home(index) / "captions.sqlite").exists()


def test_there_must_be_an_index(settings: Settings):
    with pytest.raises(IndexNotFound):
        migrate_index(settings=settings)


def test_a_collection_without_an_alias_cannot_be_switched(index: Settings):
    if "://" in index.index:
        bare = index.model_copy(update={"index": f"{index.index}--1"})
        with pytest.raises(StoreError, match="not an alias"):
            migrate_index(settings=other(bare))


def test_a_reading_that_is_killed_goes_on(index: Settings, monkeypatch: pytest.MonkeyPatch):
    before = answers(index)
    commits = iter((None, Killed()))
    commit = Writer._finish

    def finish(writer: Writer, done: object) -> object:
        if death := next(commits, None):
            raise death
        return commit(writer, done)

    monkeypatch.setattr(Writer, "_finish", finish)
    with pytest.raises(Killed):
        migrate_index(settings=other(index))
    assert (answers(index), built(index)) == (before, "rows float16")
    done = migrate_index(settings=other(index))
    assert (done.switched, done.pages) == (True, 3)
    assert done.report.pages < 3
    assert answers(index) == before
