"""One index and many threads: searches side by side, beside an ingest, and up to the moment it is closed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

from docrag import Index
from docrag.errors import DocragError, StoreError
from docrag.ingest.report import FileReport, Progress
from docrag.settings import load_settings
from docrag.types import CAPTION, IMAGE, PATCHES
from tests.samples import APPLE, CLOCK, FERRY, make_image, write_pdf
from tests.threads import at_once, beside

pytestmark = pytest.mark.slow

QUESTIONS = [
    "When does the ferry leave?",
    "storing apples in winter",
    "pendulum",
    "a much longer question about how the wheel of a clock must be cleaned and oiled, and by whom",
]
WAIT = 60.0
PAGES = 30


def folder_of_pdfs(folder: Path, files: int) -> Path:
    """Files of 30 pages, no two pages alike; an ingest encodes 32 pages of words at a time."""
    for name in range(files):
        texts = [f"File {name}, sheet {page}. {(FERRY, APPLE, CLOCK)[page % 3]}" for page in range(PAGES)]
        write_pdf(folder / f"file{name}.pdf", *texts)
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    return folder_of_pdfs(tmp_path / "pdfs", 3)


@pytest.fixture(scope="module")
def exact(tmp_path_factory) -> Iterator[Index]:
    """Computes in float32: in bfloat16 a query in company differs by 0.002 from one alone."""
    place = tmp_path_factory.mktemp("exact")
    with Index.open(place / "index", settings=load_settings(dtype="float32")) as index:
        assert not index.ingest(folder_of_pdfs(place / "pdfs", 1)).failures
        yield index


def told(hits) -> list[tuple[str, float]]:
    """What must be the same, whoever asks beside."""
    return [(hit.page_id, round(hit.score, 4)) for hit in hits]


def test_many_threads_get_what_one_gets(exact):
    expected = [told(exact.search(question, k=5)) for question in QUESTIONS]

    def ask(i):
        return [told(exact.search(QUESTIONS[(i + n) % 4], k=5)) == expected[(i + n) % 4] for n in range(4)]

    assert at_once(16, ask) == [[True] * 4] * 16


def test_queries_of_many_threads_are_encoded_in_fewer_passes(exact):
    encoders = exact._encoders
    late, sizes = encoders.late, []
    alone = [encoders.encode_query(question) for question in QUESTIONS]

    class Counted:
        spec = late.spec

        def encode_queries(self, texts):
            sizes.append(len(texts))
            return late.encode_queries(texts)

    object.__setattr__(encoders, "late", Counted())
    try:
        together = at_once(16, lambda i: encoders.encode_query(QUESTIONS[i % 4]))
    finally:
        object.__setattr__(encoders, "late", late)
    assert sum(sizes) == 16
    assert len(sizes) < 16
    for i, vectors in enumerate(together):
        for name in (PATCHES, CAPTION):
            np.testing.assert_allclose(vectors[name], alone[i % 4][name], atol=1e-5)


def test_models_that_see_serve_threads_while_they_read_pages(checkpoint, tmp_path):
    for number in range(6):
        (tmp_path / "more").mkdir(exist_ok=True)
        make_image(number).save(tmp_path / "more" / f"{number}.png")
    make_image(9).save(tmp_path / "first.png")
    settings = load_settings(dtype="float32", late=checkpoint("colqwen2"), image=checkpoint("clip"))
    with Index.open(tmp_path / "index", settings=settings) as index:
        ingesting = beside(lambda: index.ingest([tmp_path / "first.png", tmp_path / "more"]))
        threads = at_once(16, lambda i: [index._encoders.encode_query(QUESTIONS[i % 4]) for _ in range(4)])
        assert ingesting.result(WAIT).summary()["added"] == 7
        for i, rounds in enumerate(threads):
            alone = index._encoders.encode_query(QUESTIONS[i % 4])
            for vectors in rounds:
                for name in (PATCHES, IMAGE, CAPTION):
                    np.testing.assert_allclose(vectors[name], alone[name], atol=1e-5)
        assert all(len(hits) == 7 for hits in at_once(8, lambda i: index.search(QUESTIONS[i % 4])))


def test_an_index_is_read_while_it_is_filled(tmp_path, folder):
    with Index.open(tmp_path / "index") as index:
        index.ingest(write_pdf(tmp_path / "first.pdf", FERRY, APPLE))
        first = {hit.page_id for hit in index.search("ferry apples")}
        ingesting = beside(lambda: index.ingest(folder))
        rounds = 0
        while not ingesting.done():
            hits = index.search("ferry timetable", k=3)
            assert hits
            assert index.heatmap(hits[0].page_id, "ferry timetable").words
            assert first <= {page.page_id for page in index.pages([*first, hits[0].page_id])}
            documents = index.documents()
            assert sum(document.pages for document in documents) <= 2 + 3 * PAGES
            status = index.status()
            assert 1 <= status.documents <= 4
            rounds += 1
        assert not ingesting.result().failures
        assert rounds > 1
        assert index.status().pages == 2 + 3 * PAGES


def test_closing_ends_searches_cleanly(tmp_path):
    index = Index.open(tmp_path / "index")
    index.ingest(write_pdf(tmp_path / "a.pdf", FERRY, APPLE, CLOCK))
    searched = threading.Barrier(9)

    def search(i):
        found = [index.search(QUESTIONS[i % 4])]
        searched.wait(WAIT)
        with pytest.raises(StoreError, match="closed"):
            found.extend(map(index.search, repeat(QUESTIONS[i % 4])))
        assert all({hit.page_id for hit in hits} == {hit.page_id for hit in found[0]} for hits in found)
        return len(found)

    threads = [beside(lambda i=i: search(i)) for i in range(8)]
    searched.wait(WAIT)
    index.close()
    assert all(thread.result(WAIT) >= 1 for thread in threads)
    for call in (index.status, index.documents, lambda: index.ingest(tmp_path / "a.pdf")):
        with pytest.raises(StoreError):
            call()


def test_a_second_ingest_waits_for_the_first(tmp_path, folder):
    """Else it would take what the first is writing for what a killed run left, and remove it."""
    other = write_pdf(tmp_path / "other.pdf", "Lighthouses of the coast.")
    began, go = threading.Event(), threading.Event()

    def hold(event):
        began.set()
        assert go.wait(WAIT)

    with Index.open(tmp_path / "index") as index:
        first = beside(lambda: index.ingest(folder, listener=hold))
        assert began.wait(WAIT)
        second = beside(lambda: index.ingest(other))
        removing = beside(lambda: index.remove(folder / "file0.pdf"))
        waiting = beside(lambda: index.ingest(other, should_stop=lambda: True))
        assert waiting.result(WAIT).stopped, "one that waits can be stopped"
        assert not second.done()
        assert not removing.done()
        go.set()
        assert first.result(WAIT).summary()["added"] == 3
        assert second.result(WAIT).summary()["added"] == 1
        assert removing.result(WAIT) == PAGES
        assert index.status().pages == 2 * PAGES + 1
        assert index.search("lighthouses", k=1)[0].file == str(other)


def test_an_ingest_that_is_stopped_keeps_what_it_told_and_goes_on_later(tmp_path, folder):
    stop, heard = threading.Event(), []

    def listen(event):
        heard.append(event)
        if isinstance(event, Progress):
            stop.set()

    with Index.open(tmp_path / "index") as index:
        report = index.ingest(folder, listener=listen, should_stop=stop.is_set)
        assert report.stopped
        files = [event for event in heard if isinstance(event, FileReport)]
        assert report.files == files
        assert 0 < report.pages < 3 * PAGES, "what is encoded then is stored, the rest is not begun"
    with Index.open(tmp_path / "index") as index:
        kept = {document.file for document in index.documents()}
        assert {file.file for file in files} <= kept
        again = index.ingest(folder)
        assert not again.stopped
        assert again.summary()["unchanged"] == len(files)
        assert again.summary()["added"] == 3 - len(files)
        assert report.pages + again.pages == 3 * PAGES, "no page is encoded twice"
        assert index.status().pages == 3 * PAGES


def test_an_ingest_that_is_told_to_stop_before_it_begins_does_nothing(tmp_path, folder):
    with Index.open(tmp_path / "index") as index:
        report = index.ingest(folder, should_stop=lambda: True)
        assert (report.stopped, report.pages, report.files) == (True, 0, [])
        assert not index.ingest(folder / "file0.pdf", should_stop=lambda: False).stopped


@pytest.mark.parametrize("ending", ["listener", "close"])
def test_what_was_told_is_safe_however_an_ingest_ends(tmp_path, folder, ending):
    files = []

    def listen(event):
        if isinstance(event, FileReport):
            files.append(event)
        elif len(files) or event.pages > PAGES:
            if ending == "close":
                index.close()
            else:
                raise RuntimeError("enough")

    index = Index.open(tmp_path / "index")
    with pytest.raises(RuntimeError if ending == "listener" else DocragError):
        index.ingest(folder, listener=listen)
    index.close()
    with Index.open(tmp_path / "index") as index:
        assert {file.file for file in files} <= {document.file for document in index.documents()}
        assert index.ingest(folder).summary()["unchanged"] == len(files)
        assert index.status().pages == 3 * PAGES
