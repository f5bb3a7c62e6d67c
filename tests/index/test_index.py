"""The Python API, as a user meets it."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from docrag import DocragError, Hit, Index
from docrag.demo import QUESTIONS
from docrag.errors import DocumentError, IndexInUse, IndexNotFound, QueryError, StorageFull
from tests.processes import Holder
from tests.samples import FERRY, write_pdf


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.file)
def test_the_demo_questions_find_their_page(demo_index, question):
    best = demo_index.search(question.text, k=3)[0]
    assert (Path(best.file).name, best.page) == (question.file, question.page)


def test_hits_say_where_and_why(demo_index):
    hits = demo_index.search("catering revenue 2023", k=4)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    best = hits[0]
    assert set(best.scores) <= {"late", "cosine", "text"}
    assert best.text.startswith(best.metadata["caption"])
    assert best.metadata["page"] == best.page - 1
    assert best.regions[0].text in best.text
    assert "catering" in best.regions[0].text


def test_the_image_is_the_page(demo_index):
    image = demo_index.search("ferry", k=1)[0].image()
    assert isinstance(image, Image.Image)
    assert max(image.size) == 1280


def test_an_image_that_is_gone_is_an_error_with_a_hint(demo_index):
    hit = demo_index.search("ferry", k=1)[0]
    gone = replace(hit, image_path=Path("/nowhere.jpg"))
    with pytest.raises(DocumentError, match="ingest"):
        gone.image()


def test_scans_are_read(demo_index):
    [hit] = demo_index.search("thrust bearing scored", k=1, filter={"words_from": "ocr"})
    assert Path(hit.file).name == "scan_20240212.pdf"
    assert hit.regions


@pytest.mark.parametrize("mode", ["hybrid", "late", "cosine", "text"])
@pytest.mark.parametrize("query", ["the of and", "?!", "🙂", "what " * 3000, "Was kostet Fernwärme?", "渡轮"])
def test_odd_queries_are_answered(demo_index, mode, query):
    hits = demo_index.search(query, k=2, mode=mode)
    assert len(hits) <= 2


def test_asking_for_more_pages_than_there_are_gives_all(demo_index):
    assert len(demo_index.search("ferry", k=500, mode="late")) == demo_index.status().pages


@pytest.mark.parametrize(
    "question", [{"query": " "}, {"query": "x", "k": 0}, {"query": "x", "mode": "psychic"}]
)
def test_bad_questions_are_refused(demo_index, question):
    with pytest.raises(QueryError):
        demo_index.search(**question)


def test_asearch_gives_the_same(demo_index):
    async def ask() -> list[list[Hit]]:
        return await asyncio.gather(*(demo_index.asearch(question.text, k=2) for question in QUESTIONS))

    for question, hits in zip(QUESTIONS, asyncio.run(ask()), strict=True):
        assert [hit.page_id for hit in hits] == [hit.page_id for hit in demo_index.search(question.text, k=2)]


def test_an_empty_index_answers_nothing(tmp_path):
    with Index.open(tmp_path / "index") as index:
        for mode in ("hybrid", "late", "cosine", "text"):
            assert index.search("ferry", mode=mode) == []
        assert index.status().pages == 0


@pytest.mark.slow
def test_an_index_is_kept(tmp_path):
    path = write_pdf(tmp_path / "ferry.pdf", FERRY)
    with Index.open(tmp_path / "index") as index:
        index.ingest(path)
    with Index.open(tmp_path / "index", create=False) as index:
        assert index.search("timetable", k=1)[0].file == str(path)


def test_an_index_can_be_opened_twice(folder, tmp_path):
    """As by a cell of a notebook that is run again: both handles search and change the same pages."""
    with Index.open(tmp_path / "index") as first:
        with Index.open(tmp_path / "index") as second:
            first.ingest(folder)
            assert Path(second.search("pruning of orchards", k=1)[0].file).name == "apple.pdf"
            second.remove(folder / "apple.pdf")
            assert first.status().pages == second.status().pages == 2
        assert first.search("timetable", k=1)[0].file == str(folder / "ferry.pdf")


def test_an_index_that_another_process_holds_alone(tmp_path):
    """Both open it in their own process (DOCRAG_IN_PROCESS), so they cannot share it."""
    Index.open(tmp_path / "index").close()
    with (
        Holder(tmp_path / "index" / "points", tmp_path, "notes.py") as other,
        pytest.raises(IndexInUse, match="open already") as in_use,
    ):
        Index.open(tmp_path / "index")
    assert f"process {other.process.pid} (python notes.py)" in in_use.value.hint
    assert "without in_process" in in_use.value.hint
    Index.open(tmp_path / "index").close()


def test_opening_without_creating(tmp_path):
    with pytest.raises(IndexNotFound):
        Index.open(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


def test_every_error_can_be_caught_as_one():
    assert issubclass(StorageFull, DocragError)
    assert str(StorageFull("no room", "make some")) == "no room (make some)"


@pytest.fixture
def small_disk(tmp_path: Path):
    """A disk of 96 MiB."""
    image, mounted = tmp_path / "disk.img", tmp_path / "disk"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(96 * 2**20)
    made = (
        shutil.which("mkfs.ext4") and subprocess.run(["mkfs.ext4", "-q", image], check=False).returncode == 0
    )
    if (
        not made
        or subprocess.run(
            ["mount", "-o", "loop", image, mounted], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting a disk needs root and loop devices")
    yield mounted
    subprocess.run(["umount", mounted], check=True)


@pytest.mark.slow
def test_a_full_disk_is_told_and_nothing_acknowledged_is_lost(small_disk, tmp_path):
    safe: list[str] = []
    full: StorageFull | None = None
    with Index.open(small_disk / "index") as index:
        while not full:
            path = write_pdf(
                tmp_path / f"{len(safe)}.pdf", *(f"{FERRY} {len(safe)}, {n}." for n in range(20))
            )
            try:
                safe += [file.file for file in index.ingest(path).files]
            except StorageFull as error:
                full = error
            (small_disk / "ballast").write_bytes(b"x" * min(12 * 2**20 * len(safe), 60 * 2**20))
        assert full.hint
    (small_disk / "ballast").unlink()
    with Index.open(small_disk / "index") as index:
        assert index.status().files == len(safe)
        assert {hit.file for hit in index.search("ferry", k=100)} == set(safe)
