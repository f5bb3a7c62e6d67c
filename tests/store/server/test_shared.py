"""Two machines fill one collection: neither removes what the other one holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from docrag import Index, Settings
from docrag.errors import IndexInUse, StoreError
from docrag.operations.migrate import migrate_index
from docrag.store.server.shared import load_holder_name
from tests.samples import APPLE, CLOCK, FERRY, later, write_pdf
from tests.store.fake_qdrant import FakeQdrant


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
