"""Two machines fill one collection: neither removes what the other one holds."""

from __future__ import annotations

import pickle
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from qdrant_client import models

from docrag import Index, Settings
from docrag.errors import DocumentError, IndexInUse, NotFound, SettingsError, StoreError
from docrag.operations.migrate import migrate_index
from docrag.store.server.shared import load_holder_name
from tests.samples import APPLE, CLOCK, FERRY, later, write_pdf
from tests.store.fake_qdrant import FakeQdrant
from tests.store.proxy import Proxy


@pytest.fixture
def server() -> Iterator[FakeQdrant]:
    with FakeQdrant() as server:
        yield server


@pytest.fixture
def machines(server: FakeQdrant, tmp_path: Path) -> Iterator[tuple[Index, Index]]:
    """Two, each with its own files beside the collection."""
    places = [Settings(index=server.uri, files=str(tmp_path / name), workers=1) for name in "ab"]
    with Index.open(settings=places[0]) as one, Index.open(settings=places[1]) as other:
        yield one, other


def held(server: FakeQdrant) -> dict[str, int]:
    """Pages by file name, with how many hold them."""
    points, _ = server.db.scroll("reports", limit=100)
    return {point.payload["metadata"]["file_name"]: len(point.payload["held_by"]) for point in points}


def status(index: Index, docs: Path, **how: bool) -> dict[str, str]:
    return {Path(file.file).name: file.status for file in index.ingest(docs, **how).files}


@pytest.mark.slow
def test_the_same_file_is_removed_when_nobody_holds_it(
    machines: tuple[Index, Index], server: FakeQdrant, tmp_path: Path
):
    one, other = machines
    for name, index in zip("ab", machines, strict=True):
        index.ingest(write_pdf(tmp_path / name / "docs" / "ferry.pdf", FERRY, CLOCK))
    assert held(server) == {"ferry.pdf": 2}
    assert one.remove(tmp_path / "a" / "docs" / "ferry.pdf") == 0
    assert held(server) == {"ferry.pdf": 1}
    assert len(other.search("pendulum", k=5)) == 2
    assert other.search("pendulum", k=1)[0].image().size
    assert other.remove(tmp_path / "b" / "docs" / "ferry.pdf") == 2
    assert held(server) == {}


@pytest.mark.slow
def test_prune_and_change_leave_what_the_other_one_holds(
    machines: tuple[Index, Index], server: FakeQdrant, tmp_path: Path
):
    one, other = machines
    mine, its = tmp_path / "docs-a", tmp_path / "docs-b"
    write_pdf(mine / "both.pdf", FERRY)
    write_pdf(mine / "mine.pdf", CLOCK)
    write_pdf(its / "both.pdf", FERRY)
    write_pdf(its / "its.pdf", APPLE)
    one.ingest(mine)
    other.ingest(its)
    assert held(server) == {"both.pdf": 2, "mine.pdf": 1, "its.pdf": 1}
    later(write_pdf(mine / "both.pdf", "Something else."))
    (mine / "mine.pdf").unlink()
    assert status(one, mine, prune=True) == {"both.pdf": "updated", "mine.pdf": "removed"}
    assert len(other.search("ferry", k=9)) == 3  # the old content of both.pdf, its new one, its.pdf
    assert status(other, its, prune=True) == {"both.pdf": "unchanged", "its.pdf": "unchanged"}


@pytest.mark.slow
def test_pages_that_are_gone_are_read_again(
    machines: tuple[Index, Index], server: FakeQdrant, tmp_path: Path
):
    one, _ = machines
    docs = write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY, CLOCK).parent
    assert status(one, docs) == {"ferry.pdf": "added"}
    points, _ = server.db.scroll("reports", limit=1)
    server.db.delete("reports", [points[0].id])
    assert status(one, docs) == {"ferry.pdf": "updated"}
    assert one.status().pages == 2
    assert status(one, docs) == {"ferry.pdf": "unchanged"}


@pytest.mark.slow
def test_a_claim_that_was_lost_is_renewed(machines: tuple[Index, Index], server: FakeQdrant, tmp_path: Path):
    one, _ = machines
    docs = write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY).parent
    for index in machines:
        index.ingest(docs)
    points, _ = server.db.scroll("reports", limit=1)
    server.db.set_payload("reports", {"held_by": ["other"]}, [points[0].id])
    assert status(one, docs) == {"ferry.pdf": "unchanged"}
    assert held(server) == {"ferry.pdf": 2}


@pytest.mark.slow
def test_one_ingest_at_a_time_on_a_machine_and_searches_go_on(
    machines: tuple[Index, Index], server: FakeQdrant, tmp_path: Path
):
    one, other = machines
    docs = write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY, CLOCK).parent
    same, seen = Settings(index=server.uri, files=str(tmp_path / "a"), workers=1), []

    def look(event: object) -> None:
        with Index.open(settings=same, create=False) as second:
            with pytest.raises(IndexInUse, match="being written by this thread"):
                second.ingest(docs)
            seen.append(second.search("ferry"))
        seen.append(other.search("ferry"))

    one.ingest(docs, listener=look)
    assert seen
    with Index.open(settings=same, create=False) as second:
        assert status(second, docs) == {"ferry.pdf": "unchanged"}


def test_each_folder_has_a_name_of_its_own(tmp_path: Path):
    for name in "ab":
        (tmp_path / name).mkdir()
    first = load_holder_name(tmp_path / "a")
    assert load_holder_name(tmp_path / "a") == first != load_holder_name(tmp_path / "b")
    (tmp_path / "a" / "holder").write_text("")  # whoever created it was killed
    assert load_holder_name(tmp_path / "a") == load_holder_name(tmp_path / "a") not in ("", first)
    shutil.rmtree(tmp_path / "a")
    (tmp_path / "a").mkdir()
    assert load_holder_name(tmp_path / "a") != first


@pytest.mark.slow
def test_a_migration_on_one_machine_loses_no_page_of_the_other(server: FakeQdrant, tmp_path: Path):
    mine, its = (Settings(index=server.uri, files=str(tmp_path / name), workers=1) for name in "ab")
    for settings in (mine, its):
        docs = tmp_path / Path(str(settings.files)).name / "docs"
        write_pdf(docs / "both.pdf", FERRY)
        if settings is its:
            write_pdf(docs / "its.pdf", APPLE)
        with Index.open(settings=settings) as index:
            index.ingest(docs)
    wanted = mine.model_copy(update={"pooling": "tokens"})
    with pytest.raises(StoreError, match=r"its.pdf \(1 page\): it was not ingested from here"):
        migrate_index(settings=wanted)
    assert held(server) == {"both.pdf": 2, "its.pdf": 1}
    done = migrate_index(settings=wanted, drop_missing=True)
    assert len(done.dropped) == 1
    assert held(server) == {"both.pdf": 2}  # the other machine holds it in the new collection, too
    with Index.open(settings=its) as index:
        assert status(index, tmp_path / "b" / "docs") == {"both.pdf": "unchanged", "its.pdf": "updated"}
    assert held(server) == {"both.pdf": 2, "its.pdf": 1}


@pytest.mark.slow
def test_of_two_that_ingest_the_same_files_at_once_one_removes_its_own(server: FakeQdrant, tmp_path: Path):
    docs = tmp_path / "docs"
    for name in ("ferry", "clock", "apple"):
        write_pdf(docs / f"{name}.pdf", name, FERRY, CLOCK)
    with Index.open(settings=Settings(index=server.uri, files=str(tmp_path / "first"), workers=1)):
        pass
    start = threading.Barrier(2)
    with ExitStack() as stack:
        proxy = stack.enter_context(Proxy(int(server.uri.split(":")[2].split("/")[0]), 0.015))
        one, other = (
            stack.enter_context(
                Index.open(settings=Settings(index=proxy.uri, files=str(tmp_path / name), workers=1))
            )
            for name in "ab"
        )

        def ingest(index: Index) -> dict[str, str]:
            start.wait()
            return status(index, docs)

        with ThreadPoolExecutor(2) as pool:
            reports = list(pool.map(ingest, (one, other)))
        assert {each for report in reports for each in report.values()} <= {"added", "adopted"}
        assert one.status().held_by == {one.status().holder: 9, other.status().holder: 9}
        for file in docs.iterdir():
            assert one.remove(file) == 0
        assert other.status().held_by == {other.status().holder: 9}
        assert status(other, docs) == dict.fromkeys(("ferry.pdf", "clock.pdf", "apple.pdf"), "unchanged")


def test_stored_documents_are_adopted_without_being_read(
    machines: tuple[Index, Index], server: FakeQdrant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    one, other = machines
    mine = write_pdf(tmp_path / "docs-a" / "ferry.pdf", FERRY, CLOCK)
    its = write_pdf(tmp_path / "docs-b" / "timetable.pdf", FERRY, CLOCK)
    one.ingest(mine)
    monkeypatch.setattr("docrag.ingest.sync.ReaderPool", None)  # nothing is read
    report = other.ingest(its)
    assert [file.as_json() for file in report.files] == [
        {"file": str(its), "status": "adopted", "pages": 2, "error": None}
    ]
    assert (report.pages, report.summary()["adopted"], report.unlisted) == (0, 1, [])
    assert held(server) == {"ferry.pdf": 2}
    [document] = other.documents()
    assert document.files == (str(mine), str(its))
    assert status(other, its) == {"timetable.pdf": "unchanged"}
    page = other.search("pendulum", k=1)[0]
    assert page.image_path is not None
    assert not page.image_path.exists()
    assert pickle.loads(pickle.dumps(page)).image().size == one.search("pendulum", k=1)[0].image().size
    assert page.image_path.exists()
    assert one.remove(mine) == 0
    assert other.remove(its) == 2


@pytest.mark.slow
def test_a_document_of_which_pages_are_missing_is_not_adopted(
    machines: tuple[Index, Index], server: FakeQdrant, tmp_path: Path
):
    one, other = machines
    docs = write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY, CLOCK).parent
    one.ingest(docs)
    points, _ = server.db.scroll("reports", limit=1)
    server.db.delete("reports", [points[0].id])
    assert status(other, docs) == {"ferry.pdf": "added"}
    assert held(server) == {"ferry.pdf": 2}


def test_an_image_that_no_machine_can_make_is_missed_in_plain_words(
    machines: tuple[Index, Index], tmp_path: Path
):
    one, other = machines
    docs = write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY).parent
    one.ingest(docs)
    [hit] = other.search("ferry", k=1)
    with pytest.raises(DocumentError, match=r"ferry.pdf, page 1, on this machine \(ingest the file"):
        hit.image()
    other.ingest(docs)
    later(write_pdf(docs / "ferry.pdf", CLOCK))  # has another content by now
    [hit] = other.search("ferry", k=1)
    with pytest.raises(DocumentError, match="there is no image of"):
        hit.image_file()


def test_who_holds_a_removed_file_is_said(machines: tuple[Index, Index], server: FakeQdrant, tmp_path: Path):
    one, other = machines
    docs = write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY).parent
    one.ingest(docs)
    names = [index.status().holder for index in machines]
    for _ in range(2):  # also a machine that does not hold it says who does
        removal = other.remove_file(docs / "ferry.pdf")
        assert (removal.pages, removal.held_by) == (0, (names[0],))
        assert removal.as_json()["status"] == "held"
        other.ingest(docs)
    assert one.remove_file(docs / "ferry.pdf").held_by == (names[1],)
    assert other.remove_file(docs / "ferry.pdf").pages == 1
    with pytest.raises(NotFound):
        one.remove(docs / "ferry.pdf")
    assert held(server) == {}


def test_the_claims_of_a_machine_that_is_gone_are_released(
    machines: tuple[Index, Index], server: FakeQdrant, tmp_path: Path
):
    one, other = machines
    both, its = (write_pdf(tmp_path / "docs" / f"{name}.pdf", name) for name in ("both", "its"))
    one.ingest(both)
    other.ingest([both, its])
    gone = other.status().holder
    with pytest.raises(SettingsError, match=rf"named elsewhere .*{gone}"):
        one.release("elsewhere")
    with pytest.raises(SettingsError):
        one.release(one.status().holder)
    assert one.release(gone) == 1
    assert held(server) == {"both.pdf": 1}
    other.ingest(both)  # it was not gone
    removal = one.remove_file(both, release=[gone])
    assert (removal.pages, removal.held_by, held(server)) == (1, (), {})


def test_claims_are_released_of_a_document_that_another_file_here_has(
    machines: tuple[Index, Index], server: FakeQdrant, tmp_path: Path
):
    one, other = machines
    first = write_pdf(tmp_path / "docs" / "first.pdf", FERRY)
    second = Path(shutil.copy(first, tmp_path / "docs" / "second.pdf"))
    one.ingest([first, second])
    other.ingest(first)
    gone = other.status().holder
    other.release(one.status().holder)  # it takes this machine for one that is gone
    removal = one.remove_file(first, release=[gone])
    assert (removal.pages, removal.held_by) == (0, ())
    assert one.status().held_by == {one.status().holder: 1}
    assert one.remove_file(second).pages == 1
    assert held(server) == {}


def test_the_status_says_what_is_stored_and_who_holds_it(machines: tuple[Index, Index], tmp_path: Path):
    one, other = machines
    one.ingest(write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY, CLOCK))
    mine, its = one.status(), other.status()
    assert (mine.stored_documents, mine.documents, mine.files, mine.pages) == (1, 1, 1, 2)
    assert (its.stored_documents, its.documents, its.files, its.pages) == (1, 0, 0, 2)
    assert mine.held_by == its.held_by == {mine.holder: 2}
    assert its.holder not in ("", mine.holder)


def test_what_an_older_snapshot_brings_back_is_told_and_can_be_removed(
    machines: tuple[Index, Index], server: FakeQdrant, tmp_path: Path
):
    one, _ = machines
    ferry = write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY, CLOCK)
    clock = write_pdf(tmp_path / "docs" / "clock.pdf", CLOCK)
    one.ingest([ferry, clock])
    points, _ = server.db.scroll("reports", limit=10, with_vectors=True)
    snapshot = [models.PointStruct(id=one.id, vector=one.vector, payload=one.payload) for one in points]
    assert one.remove(ferry) == 2
    server.db.upsert("reports", snapshot)
    report = one.ingest(clock)
    assert report.unlisted == report.summary()["unlisted"] == [str(ferry)]
    assert len(one.search("ferry", k=5)) == 3
    assert one.remove(ferry) == 2
    assert one.ingest(clock).unlisted == []
    server.db.upsert("reports", snapshot)
    assert status(one, ferry) == {"ferry.pdf": "adopted"}
    assert held(server) == {"ferry.pdf": 1, "clock.pdf": 1}


def test_a_collection_is_one_however_its_address_is_spelt(server: FakeQdrant, tmp_path: Path):
    docs = write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY).parent
    settings = Settings(index=server.uri, files=str(tmp_path / "files"), workers=1)
    with Index.open(settings=settings) as index:
        assert status(index, docs) == {"ferry.pdf": "added"}
        holder = index.status().holder
    spellings = (server.uri.replace("127.0.0.1", "localhost"), f"{server.uri}--1")
    for uri in spellings:
        with Index.open(uri, settings=settings, create=False) as index:
            assert index.status().holder == holder
            assert status(index, docs) == {"ferry.pdf": "unchanged"}
    assert held(server) == {"ferry.pdf": 1}
    migrate_index(spellings[0], settings=settings.model_copy(update={"pooling": "tokens"}), keep_old=True)
    with Index.open(settings=settings) as index, Index.open(f"{server.uri}--1", settings=settings) as old:
        assert index.status().holder == holder != old.status().holder
        assert (index.status().files, old.status().files) == (1, 1)


def test_a_collection_of_an_older_docrag_gets_an_id(server: FakeQdrant, tmp_path: Path):
    docs = write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY).parent
    settings = Settings(index=server.uri, files=str(tmp_path / "files"), workers=1)
    with Index.open(settings=settings) as index:
        index.ingest(docs)
        holder = index.status().holder
    metadata = server.db._client.collections["reports--1"].config.metadata
    identity = metadata.pop("docrag_id")
    [folder] = (tmp_path / "files").iterdir()
    (folder / "collection.json").unlink()
    other = Settings(index=server.uri.replace("127.0.0.1", "localhost"), files=settings.files, workers=1)
    with Index.open(settings=settings) as index:
        assert "docrag_id" not in metadata  # a search does not write
        index.ingest(docs)
    assert metadata["docrag_id"] != identity
    with Index.open(settings=other) as index:
        assert index.status().holder == holder
