"""One writer at a time: threads of a process, and processes, which wait for each other and say for whom."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from docrag import Index, Settings, WaitingForWriter
from docrag.errors import IndexInUse, IndexMismatch, NotFound
from docrag.ingest.report import FileReport, IngestEvent
from docrag.ingest.storage import WriteLock
from docrag.operations.migrate import abandon_migration, migrate_index
from tests.processes import Holder, in_child
from tests.samples import CLOCK, FERRY, copy_index, write_pdf
from tests.threads import at_once, beside


def test_one_thread_at_a_time():
    turn, inside = WriteLock(), []

    def work(i):
        with turn.acquire() as mine:
            inside.append(i)
            time.sleep(0.002)
            assert inside.pop() == i
            return mine

    assert at_once(12, work) == [True] * 12


def test_the_thread_that_has_it_may_take_it_again():
    turn = WriteLock()
    with turn.acquire(), turn.acquire(lambda: True) as mine:
        assert mine


def test_one_that_waits_can_be_told_to_stop_and_leaves_the_turn_as_it_is():
    turn, stop = WriteLock(), threading.Event()

    def wait():
        with turn.acquire(stop.is_set) as mine:
            return mine

    with turn.acquire():
        waiting = beside(wait)
        stop.set()
        assert waiting.result(20) is False
    stop.clear()
    assert beside(wait).result(20) is True


def test_an_error_within_gives_it_back():
    turn = WriteLock()
    try:
        with turn.acquire():
            raise ValueError("broken")
    except ValueError:
        pass
    assert beside(lambda: turn._lock.acquire(timeout=5)).result(20)


def test_who_waits_for_a_thread_is_told_once():
    turn, names, told = WriteLock(), [], threading.Event()

    def on_wait(holder):
        names.append(holder)
        told.set()

    def wait():
        with turn.acquire(on_wait=on_wait) as mine:
            return mine

    with turn.acquire(on_wait=on_wait):
        waiting = beside(wait)
        assert told.wait(20)
    assert waiting.result(20) is True
    assert names == ["this process"]


def test_a_child_does_not_wait_for_a_thread_of_its_parent():
    turn, began, end = WriteLock(), threading.Event(), threading.Event()

    def hold():
        with turn.acquire():
            began.set()
            end.wait(20)

    def work():
        with turn.acquire(lambda: True) as mine:
            return mine, turn.depth

    holding = beside(hold)
    assert began.wait(20)
    assert in_child(work) == (True, 1)
    end.set()
    holding.result(20)


def test_a_child_that_is_forked_by_the_holder_leaves_its_block():
    turn = WriteLock()

    def leave(block):
        block.__exit__(None, None, None)
        with turn.acquire():
            return turn.depth

    block = turn.acquire()
    with block:
        assert in_child(lambda: leave(block)) == 1
        assert turn.depth == 1
    assert turn.depth == 0


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one document, and beside it an index of it; both stay as they are."""
    home = tmp_path_factory.mktemp("ferry")
    write_pdf(home / "docs" / "ferry.pdf", FERRY)
    with Index.open(home / "index") as index:
        index.ingest(home / "docs")
    return home / "docs"


@pytest.fixture
def index(docs: Path, tmp_path: Path) -> Iterator[Index]:
    with Index.open(copy_index(docs.with_name("index"), tmp_path / "index")) as index:
        yield index


@pytest.fixture
def writer(index: Index, tmp_path: Path) -> Iterator[Holder]:
    """Another process that is changing the index."""
    with Holder(tmp_path / "index" / "manifest.sqlite", tmp_path, "docrag", "ingest") as holder:
        yield holder


def name_of(writer: Holder) -> str:
    return f"process {writer.process.pid} (docrag ingest)"


@pytest.mark.slow
def test_an_ingest_waits_for_another_process_and_sees_what_changed_meanwhile(
    index: Index, writer: Holder, docs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "docrag")
    events: list[IngestEvent] = []
    write_pdf(tmp_path / "more" / "gone.pdf", FERRY)

    def listen(event: IngestEvent) -> None:
        events.append(event)
        if isinstance(event, WaitingForWriter):
            assert index.search("ferry", k=1)  # searches go on
            (tmp_path / "more" / "gone.pdf").unlink()
            write_pdf(tmp_path / "more" / "clock.pdf", CLOCK)
            writer.end()

    report = index.ingest([docs, tmp_path / "more"], listener=listen)
    assert events[0] == WaitingForWriter(name_of(writer))
    assert [type(event) for event in events].count(WaitingForWriter) == 1
    assert {Path(file.file).name: file.status for file in report.files} == {
        "ferry.pdf": "unchanged",
        "clock.pdf": "added",
    }
    waits = [record for record in caplog.records if "waiting for" in record.message]
    assert [record.levelname for record in waits] == ["INFO"]
    assert name_of(writer) in waits[0].message


def test_an_ingest_that_waits_can_be_told_to_stop(index: Index, writer: Holder, docs: Path):
    stop = threading.Event()
    report = index.ingest(docs, listener=lambda event: stop.set(), should_stop=stop.is_set)
    assert report.stopped
    assert report.files == []


def test_an_interrupt_ends_the_wait(index: Index, writer: Holder, docs: Path):
    def interrupt() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.ingest(docs, should_stop=interrupt)
    writer.end()
    assert [file.status for file in index.ingest(docs).files] == ["unchanged"]


def test_a_removal_waits_and_the_log_says_for_whom(
    index: Index, writer: Holder, docs: Path, caplog: pytest.LogCaptureFixture
):
    file = docs / "ferry.pdf"
    with pytest.raises(IndexInUse, match="another writer"):
        index.remove(file, should_stop=lambda: True)
    assert index.status().writer == name_of(writer)
    removal = beside(lambda: index.remove(file))
    while len(caplog.records) < 2:
        time.sleep(0.01)
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert f"waiting for {name_of(writer)}" in caplog.text
    writer.end()
    assert removal.result(20) == 1
    with pytest.raises(NotFound):
        index.remove(file)


def test_a_killed_writer_is_not_waited_for(index: Index, writer: Holder, docs: Path):
    writer.kill()
    events: list[IngestEvent] = []
    index.ingest(docs, listener=events.append)
    assert [type(event) for event in events] == [FileReport]


def test_an_index_that_was_migrated_is_not_written_with_its_old_models(
    index: Index, docs: Path, tmp_path: Path
):
    file = tmp_path / "index" / "fingerprint.json"
    file.write_text(file.read_text().replace("float16", "float32"))
    with pytest.raises(IndexMismatch, match="was migrated after it was opened"):
        index.ingest(docs)


@pytest.mark.slow
def test_a_migration_waits_and_to_abandon_one_does_not(index: Index, writer: Holder, tmp_path: Path):
    settings = Settings(index=str(tmp_path / "index"))
    index.close()
    with pytest.raises(IndexInUse, match="is being written by") as caught:
        abandon_migration(settings=settings)
    assert caught.value.holder == name_of(writer)
    events: list[IngestEvent] = []

    def listen(event: IngestEvent) -> None:
        events.append(event)
        writer.end()

    other = settings.model_copy(update={"datatype": "float32"})
    assert migrate_index(settings=other, listener=listen).switched
    assert events[0] == WaitingForWriter(name_of(writer))
