"""What happens to a page on which an encoder or a captioner fails."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest

from docrag import Index, Settings
from docrag.caption import Caption, TextLayerCaptioner
from docrag.encode.models import minilm
from docrag.encode.models.minilm import MiniLMPages
from docrag.encode.vectors.pooling import fitted
from docrag.errors import ModelError, PageFailed
from docrag.store.payload import boxes_of
from docrag.types import PATCHES, MultiVector, Page
from tests.samples import APPLE, CLOCK, FERRY, write_pdf

FAULT = PageFailed("page 2: nothing can be made of it", "look at it")


def refuse_apples(pages: Sequence[Page]) -> None:
    if any("Apple" in page.text for page in pages):
        raise FAULT


class NoApples(MiniLMPages):
    """minilm that fails on some pages."""

    def encode_pages(self, pages: Sequence[Page]) -> list[MultiVector]:
        refuse_apples(pages)
        return super().encode_pages(pages)


class NoAppleCaptions(TextLayerCaptioner):
    """A captioner that has less to say of some pages."""

    def caption(self, pages: Sequence[Page]) -> list[Caption]:
        captions = super().caption(pages)
        return [
            replace(caption, error=FAULT) if "Apple" in page.text else caption
            for page, caption in zip(pages, captions, strict=True)
        ]


@pytest.fixture
def docs(tmp_path):
    write_pdf(tmp_path / "docs" / "one.pdf", FERRY, APPLE, CLOCK)
    write_pdf(tmp_path / "docs" / "two.pdf", CLOCK * 2)
    return tmp_path / "docs"


@pytest.mark.slow
def test_a_page_that_cannot_be_encoded_costs_only_itself(docs, tmp_path, monkeypatch):
    monkeypatch.setitem(minilm.FAMILY.pages, "minilm", NoApples)
    with Index.open(tmp_path / "index", settings=Settings(workers=1)) as index:
        report = index.ingest(docs)
        assert index.status().pages == report.pages == 3
        assert [hit.page for hit in index.search("pendulum", filter={"file_name": "one.pdf"})] == [3, 1]
    one, two = sorted(report.files, key=lambda file: file.file)
    assert (one.status, one.pages) == ("added", 2)
    assert "page 2: page 2: nothing" in one.error
    assert (two.status, two.pages, two.error) == ("added", 1, None)


@pytest.mark.slow
def test_a_page_whose_caption_fails_is_found_by_its_text(docs, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "docrag.index.model_selection.make_captioner", lambda settings, home: NoAppleCaptions()
    )
    with Index.open(tmp_path / "index", settings=Settings(workers=1)) as index:
        report = index.ingest(docs)
        assert report.pages == 4
        [best] = index.search("apple orchards", k=1)
    assert best.page == 2
    assert any("nothing can be made" in (file.error or "") for file in report.files)


@pytest.mark.slow
def test_a_model_that_fails_ends_the_run(docs, tmp_path, monkeypatch):
    def broken(pages: Sequence[Page]) -> list[Caption]:
        raise ModelError("no memory", "get some")

    monkeypatch.setattr(TextLayerCaptioner, "caption", staticmethod(broken))
    with (
        Index.open(tmp_path / "index", settings=Settings(workers=1)) as index,
        pytest.raises(ModelError, match="no memory"),
    ):
        index.ingest(docs)


@pytest.mark.slow
def test_a_page_with_too_many_vectors_is_pooled_and_told(docs, tmp_path, monkeypatch):
    write_pdf(docs / "long.pdf", f"{FERRY} {APPLE} {CLOCK}", FERRY)
    monkeypatch.setattr("docrag.encode.encoders.fitted", partial(fitted, floats=30 * 384))
    with Index.open(tmp_path / "index", settings=Settings(workers=1)) as index:
        report = index.ingest(docs)
        assert not report.failures
        [named] = [file for file in report.noted if file.file.endswith("long.pdf")]
        [hit] = index.search("apple orchards", k=1, mode="late", filter={"file_name": "long.pdf", "page": 1})
        [record] = index._storage.store.retrieve([hit.page_id], vectors=[PATCHES])
    given, stored = map(int, re.findall(r"\d\d+", named.note))
    assert named.note.startswith(f"page 1: {given} vectors are more than Qdrant takes")
    assert named.as_json()["note"] == named.note
    assert stored < 30 <= given
    assert len(record.vectors[PATCHES]) == len(boxes_of(record.payload)) == stored
    assert "Apple" in hit.regions[0].text


def test_a_page_that_cannot_be_pooled_costs_only_itself(docs, tmp_path, monkeypatch):
    monkeypatch.setattr("docrag.encode.encoders.fitted", partial(fitted, floats=3 * 384))
    with Index.open(tmp_path / "index", settings=Settings(workers=1)) as index:
        report = index.ingest(docs)
        assert report.pages == index.status().pages < 4
    assert all("and Qdrant takes 2" in file.error for file in report.failures)
    assert "--max-patches" in report.failures[0].hint
