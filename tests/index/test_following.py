"""An index that another machine migrates while it is open: what a handle says, and what follows it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from docrag import Index, Settings
from docrag.common.time_limit import may_try_again, seconds_left, time_limit
from docrag.errors import IndexNotFound, IndexReplaced, ModelUnavailable, StoreError
from docrag.index.following import following
from docrag.ingest import pipeline, writer
from docrag.ingest.report import FileReport
from docrag.operations.migrate import migrate_index
from docrag.store.layout import Fingerprint, Layout
from docrag.store.server import alias
from docrag.store.server.address import Address
from docrag.store.server.connection import Connection, connect
from tests.samples import APPLE, CLOCK, FERRY, write_pdf
from tests.store.fake_qdrant import FakeQdrant

pytestmark = pytest.mark.slow

OTHER = Fingerprint({"layout": 1, "late": {"family": "colpali"}, "text": {"family": "minilm"}})
QUESTION = "When does the ferry leave?"


@pytest.fixture
def server() -> Iterator[FakeQdrant]:
    with FakeQdrant() as server:
        yield server


@pytest.fixture
def connection(server: FakeQdrant) -> Iterator[Connection]:
    opened = connect(Address.parse(server.uri))
    yield opened
    opened.close()


@pytest.fixture
def settings(server: FakeQdrant, tmp_path: Path) -> Settings:
    return Settings(index=server.uri, files=str(tmp_path / "files"), workers=1)


@pytest.fixture
def index(settings: Settings, tmp_path: Path) -> Iterator[Index]:
    docs = write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY, CLOCK).parent
    with Index.open(settings=settings) as opened:
        opened.ingest(docs)
        yield opened


def migrate(settings: Settings, *, keep_old: bool = False) -> None:
    """As another process does, to another pooling."""
    migrate_index(settings=settings.model_copy(update={"pooling": "rows+columns"}), keep_old=keep_old)


def wait_until(is_reached: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_reached():
        assert time.monotonic() < end
        time.sleep(0.05)


def wait_for_new(followed: Index) -> None:
    """Return once calls go to the index that `migrate` made."""
    wait_until(lambda: followed.fingerprint["pooling"] == "rows+columns")


class SlowOpening:
    """Indexes are opened anew only once they may; notes the time limit of each opening."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_go_on = threading.Event()
        self.limits: list[tuple[float, bool]] = []
        self.opened: list[Index] = []
        reopened = Index.reopened

        def reopen(index: Index) -> Index:
            self.limits.append((seconds_left(), may_try_again(1)))
            assert self.may_go_on.wait(60)
            self.opened.append(reopened(index))
            return self.opened[-1]

        monkeypatch.setattr(Index, "reopened", reopen)


def test_a_search_in_an_index_that_was_replaced_says_so(index: Index, settings: Settings):
    migrate(settings)
    with pytest.raises(IndexReplaced, match="migrated after it was opened: it is reports--2 now") as told:
        index.search(QUESTION)
    assert "open the index again" in told.value.hint
    with index.reopened() as again:
        assert again.search(QUESTION, k=1)[0].page == 1
        assert again.fingerprint["pooling"] == "rows+columns"


def test_an_index_that_was_kept_goes_on_answering_and_takes_nothing_new(
    index: Index, settings: Settings, tmp_path: Path
):
    migrate(settings, keep_old=True)
    assert index.search(QUESTION, k=1)[0].page == 1
    with pytest.raises(IndexReplaced):
        index.require_current()
    with pytest.raises(IndexReplaced, match="migrated after it was opened"):
        index.ingest(write_pdf(tmp_path / "docs" / "apple.pdf", APPLE))


def test_a_follower_answers_from_the_new_index(index: Index, settings: Settings):
    followed = following(index, check_seconds=1000)
    before = [hit.page_id for hit in followed.search(QUESTION)]
    changes = followed.changes
    migrate(settings)
    assert [hit.page_id for hit in followed.search(QUESTION)] == before
    assert followed.fingerprint["pooling"] == "rows+columns"
    assert followed.changes != changes
    assert followed.status().pages == 2
    followed.close()


def test_a_follower_leaves_an_index_that_was_kept(index: Index, settings: Settings):
    followed = following(index, check_seconds=0)
    assert followed.fingerprint["pooling"] != "rows+columns"
    migrate(settings, keep_old=True)
    assert followed.search(QUESTION, k=1)[0].page == 1
    wait_for_new(followed)
    assert followed.search(QUESTION, k=1)[0].page == 1
    followed.close()


def test_the_old_index_answers_while_the_new_one_is_opened_without_a_time_limit(
    index: Index, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    slow = SlowOpening(monkeypatch)
    followed = following(index, check_seconds=0)
    migrate(settings, keep_old=True)
    for _ in range(2):
        with time_limit(20, only_one_try=True):
            assert followed.search(QUESTION, k=1)[0].page == 1
        assert followed.fingerprint["pooling"] != "rows+columns"
    slow.may_go_on.set()
    wait_for_new(followed)
    assert slow.limits == [(math.inf, True)]
    followed.close()


def test_a_call_waits_for_the_new_index_no_longer_than_it_may(
    index: Index, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    slow = SlowOpening(monkeypatch)
    followed = following(index, check_seconds=1000)
    migrate(settings)
    with time_limit(3), pytest.raises(IndexReplaced):
        followed.search(QUESTION)
    slow.may_go_on.set()
    assert followed.search(QUESTION, k=1)[0].page == 1
    assert slow.limits == [(math.inf, True)]
    followed.close()


def test_an_old_index_that_was_kept_answers_if_the_new_one_cannot_be_opened(
    index: Index, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(index: Index) -> Index:
        raise ModelUnavailable("the model is missing")

    followed = following(index, check_seconds=0)
    migrate(settings, keep_old=True)
    with monkeypatch.context() as broken:
        broken.setattr(Index, "reopened", fail)
        assert followed.search(QUESTION, k=1)[0].page == 1
        wait_until(lambda: "the new one cannot be opened: the model is missing" in caplog.text)
    wait_for_new(followed)
    followed.close()


def test_an_index_that_is_closed_while_it_is_opened_anew_stays_closed(
    index: Index, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    slow = SlowOpening(monkeypatch)
    followed = following(index, check_seconds=0)
    migrate(settings, keep_old=True)
    followed.search(QUESTION)
    threading.Timer(0.2, slow.may_go_on.set).start()
    followed.close()
    assert len(slow.opened) == 1
    with pytest.raises(StoreError, match="closed"):
        followed.search(QUESTION)


def test_a_follower_adds_documents_to_the_new_index(index: Index, settings: Settings, tmp_path: Path):
    followed = following(index, check_seconds=1000)
    migrate(settings)
    apple = write_pdf(tmp_path / "docs" / "apple.pdf", APPLE)
    with pytest.raises(IndexReplaced):  # some of the files may be stored: who called knows which remain
        followed.ingest(apple)
    report = followed.ingest(apple)
    assert [file.status for file in report.files] == ["added"]
    followed.close()
    with Index.open(settings=settings, create=False) as other:
        assert Path(other.search("apple storage", k=1)[0].file).name == "apple.pdf"


def test_calls_under_way_end_before_the_old_index_is_closed(index: Index, settings: Settings):
    followed = following(index, check_seconds=0)
    errors: list[BaseException] = []
    stop = threading.Event()

    def search() -> None:
        while not stop.is_set():
            try:
                assert followed.search(QUESTION, k=1)[0].page == 1
            except BaseException as error:  # noqa: BLE001 (reported below)
                errors.append(error)
                return

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    migrate(settings)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert followed.search(QUESTION, k=1)[0].page == 1
    followed.close()


def test_a_follower_of_an_index_that_is_gone_says_so(index: Index, server: FakeQdrant):
    followed = following(index, check_seconds=0)
    server.db.delete_collection("reports--1")
    with pytest.raises(IndexNotFound):
        followed.search(QUESTION)
    followed.close()


def test_an_ingest_that_is_overtaken_by_a_migration_ends_and_tells_nothing_that_is_not_stored(
    index: Index, settings: Settings, connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(writer, "FLUSH_EVERY", 1)
    monkeypatch.setattr(pipeline, "WORDS", 1)
    layout = Layout.for_dims(late=8, image=None, text=8)
    docs = tmp_path / "more"
    for number in range(20):
        write_pdf(docs / f"{number:02}.pdf", f"{APPLE} {number}")
    told: list[str] = []

    def overtake(event: object) -> None:
        if isinstance(event, FileReport):
            told.append(event.file)
            if len(told) == 1:
                new = alias.make_staging(connection, layout, OTHER)
                alias.switch_alias(connection, "reports", new, expected="reports--1")

    with pytest.raises(IndexReplaced, match="migrated after it was opened") as error:
        index.ingest(docs, listener=overtake)
    assert error.value.hint.startswith("run the same again")
    assert 0 < len(told) < 20
