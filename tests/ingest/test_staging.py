"""A switch that is killed at any of its steps is ended by whoever opens the index next."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from docrag import Index, Settings
from docrag.errors import IndexInUse, StoreError
from docrag.index.opening import layout_of, open_parts
from docrag.ingest.manifest import FileRow, Manifest
from docrag.ingest.staging import Staging
from docrag.ingest.storage import Storage
from docrag.location.base import IndexLocation
from docrag.location.resolve import locate
from docrag.store.layout import Fingerprint
from docrag.store.server import alias
from tests.samples import FERRY, write_pdf
from tests.store.conftest import make_record
from tests.store.fake_qdrant import FakeQdrant

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no")


class Killed(BaseException):
    """Ends a switch in its middle; nothing catches it."""


def told(model: str) -> Fingerprint:
    values = {"layout": 1, "late": {"dim": 16, "model": model}, "image": {"dim": 12}, "text": {"dim": 8}}
    return Fingerprint({**values, "datatype": "float16", "keep_patches": "all"})


OLD, NEW = told("old"), told("new")


@pytest.fixture
def server() -> Iterator[FakeQdrant]:
    with FakeQdrant() as server:
        yield server


@pytest.fixture(params=["directory", "server"])
def settings(request: pytest.FixtureRequest, server: FakeQdrant, tmp_path: Path) -> Settings:
    uri = server.uri if request.param == "server" else str(tmp_path / "index")
    return Settings(index=uri, files=str(tmp_path / "files"))


def fill(storage: Storage, pages: int) -> None:
    """Documents of five pages; the file of each tells of which index it is."""
    with closing(storage):
        records = [make_record(number) for number in range(pages)]
        storage.store.upsert(records)
        for record in records:
            metadata = record.payload["metadata"]
            storage.images.write(metadata["document_id"], metadata["page"] + 1, str(pages).encode())
        for number in range(pages // 5):
            document_id = f"{number:064x}"
            storage.manifest.begin(document_id, "a.pdf")
            storage.manifest.finish(
                document_id, 5, "", [FileRow(f"/{number}", "a.pdf", pages, 0, document_id)]
            )


def build(settings: Settings) -> None:
    """An index of ten pages, and a draft of fifteen."""
    with closing(locate(settings)) as place:
        fill(open_parts(place, None, OLD), 10)
        place.folder.joinpath("search.json").write_text("{}")
    with closing(locate(settings)) as place:
        fill(open_parts(place.staging(), None, NEW), 15)


def holds(settings: Settings, fingerprint: Fingerprint, pages: int) -> bool:
    """Whether all parts of an index are those of one and the same."""
    with closing(locate(settings)) as place:
        place.recover()
        if place.fingerprint() != fingerprint:
            return False
        with closing(open_parts(place, fingerprint, fingerprint)) as storage:
            images = {path.read_bytes() for path in storage.images.root.rglob("*.jpg")}
            sizes = {row.size for row in storage.manifest.files()}
            one = (storage.store.count(), images, sizes) == (pages, {str(pages).encode()}, {pages})
            assert one, (storage.store.count(), images, sizes)
            return True


STEPS: list[tuple[object, str]] = [
    (Path, "rename"),
    (Path, "replace"),
    (Path, "unlink"),
    (Path, "rmdir"),
    (Path, "mkdir"),
    (shutil, "rmtree"),
    (Manifest, "replace_by"),
    (Manifest, "copy_to"),
    (alias, "switch_alias"),
    (alias, "drop_collection"),
]


MOST_STEPS = 24


def kill_at(number: int, patch: pytest.MonkeyPatch) -> None:
    """Let the process die before a step is taken."""
    taken = []

    def dying(do: Callable[..., object]) -> Callable[..., object]:
        def run(*given: object, **named: object) -> object:
            taken.append(do)
            if len(taken) == number:
                raise Killed
            return do(*given, **named)

        return run

    for owner, name in STEPS:
        patch.setattr(owner, name, dying(getattr(owner, name)))


def switch(settings: Settings, *, keep_old: bool) -> str:
    with closing(locate(settings)) as place:
        return place.switch(keep_old=keep_old)


@pytest.mark.slow
@pytest.mark.parametrize("keep_old", [True, False], ids=["keep", "drop"])
@pytest.mark.parametrize("number", range(1, MOST_STEPS + 1))
def test_a_killed_switch_leaves_the_old_index_or_the_new_one(
    settings: Settings, server: FakeQdrant, number: int, keep_old: bool
):
    build(settings)
    assert holds(settings, OLD, 10)
    with pytest.MonkeyPatch.context() as patch, closing(locate(settings)) as place:
        kill_at(number, patch)
        with suppress(Killed):
            place.switch(keep_old=keep_old)
    new = holds(settings, NEW, 15)  # opening ends what was decided
    if not new:
        assert holds(settings, OLD, 10)
        switch(settings, keep_old=keep_old)
        assert holds(settings, NEW, 15)
    with closing(locate(settings)) as place:
        assert not [path for path in place.folder.rglob("*") if path.parent.name == ".migration"]
        assert not (place.folder / "search.json").exists()
        kept = place.uri + "--1"
    assert (server.db.collection_exists("reports--1") or Path(kept).exists()) == keep_old
    if keep_old:
        assert holds(settings.model_copy(update={"index": kept}), OLD, 10)


def test_there_are_fewer_steps_than_kills(settings: Settings):
    build(settings)
    with pytest.MonkeyPatch.context() as patch, closing(locate(settings)) as place:
        kill_at(MOST_STEPS, patch)
        place.switch(keep_old=False)
    assert holds(settings, NEW, 15)


def test_until_it_is_decided_a_draft_can_be_thrown_away(settings: Settings, server: FakeQdrant):
    build(settings)
    with closing(locate(settings)) as place:
        assert place.staging().fingerprint() == NEW
        place.abandon()
        assert place.staging().fingerprint() is None
    assert holds(settings, OLD, 10)
    assert not server.db.collection_exists("reports--2")


def test_what_stands_in_the_way_of_the_old_files_is_told_before_anything_is_moved(
    settings: Settings, tmp_path: Path
):
    build(settings)
    with closing(locate(settings)) as place:
        way = place.folder.with_name(place.folder.name + "--1")
        way.mkdir()
        if place.uri.startswith("http"):
            with pytest.raises(StoreError, match="in the way"):
                place.switch(keep_old=True)
        else:
            assert place.switch(keep_old=True).endswith("--2")


def test_a_damaged_note_is_told(settings: Settings, tmp_path: Path):
    build(settings)
    with closing(locate(settings)) as place:
        Staging(place.folder).folder.joinpath("switch.json").write_text("{")
    with closing(locate(settings)) as place, pytest.raises(StoreError, match="is damaged"):
        place.recover()


def test_who_opened_the_old_index_never_asks_the_new_one(settings: Settings, server: FakeQdrant):
    build(settings)
    place: IndexLocation = locate(settings)
    stored = place.fingerprint()
    assert stored is not None
    if "://" in settings.index:  # a directory cannot be open and switched
        with closing(open_parts(place, stored, stored)) as storage:
            switch(settings, keep_old=True)
            assert storage.store.count() == 10
    else:
        switch(settings, keep_old=False)
        with pytest.raises(StoreError, match="was built with"):
            place.open(stored, layout_of(OLD))
        assert holds(settings, NEW, 15)


def test_an_old_index_that_cannot_be_moved_is_told_before_anything_is_moved(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    """As where the directory is a mounted volume: a switch that was decided would fail at every opening."""
    if "://" in settings.index:
        return
    build(settings)
    rename, home = Path.rename, Path(settings.index).resolve()

    def within(path: Path, target: Path) -> Path:
        if not target.resolve().is_relative_to(home):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(path, target)

    with monkeypatch.context() as patch, closing(locate(settings)) as place:
        patch.setattr(Path, "rename", within)
        with pytest.raises(StoreError, match=r"index--1: Invalid cross-device link") as caught:
            place.switch(keep_old=True)
        assert "without --keep-old" in caught.value.hint
    assert holds(settings, OLD, 10)
    switch(settings, keep_old=False)
    assert holds(settings, NEW, 15)


def test_nothing_is_written_into_an_index_whose_place_a_migration_is_taking(tmp_path: Path):
    pdf = write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY)
    with Index.open(tmp_path / "index") as index:
        index.ingest(pdf)
        Staging(tmp_path / "index").folder.mkdir()
        Staging(tmp_path / "index").decide({"kept": ""})  # by a process that was killed then
        for change in (lambda: index.ingest(pdf), lambda: index.remove(pdf)):
            with pytest.raises(IndexInUse, match="migration"):
                change()
        assert index.search("ferry", k=1)
