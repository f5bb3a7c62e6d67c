"""Haystack's DocumentToImageContent reads the documents that the component returns."""

from __future__ import annotations

import base64
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pymupdf
import pytest
from haystack.components.converters.image import DocumentToImageContent
from haystack_docrag import DocragRetriever
from haystack_docrag.documents import hit_document
from PIL import Image

from docrag import Index
from tests.integrations.haystack.helpers import FERRY, MANUAL, comparison
from tests.samples import make_image


@pytest.mark.parametrize("size", [None, (300, 300)])
def test_documents_become_images_of_their_pages(retriever: DocragRetriever, size):
    question = "Which switch resets the purifier?"
    in_manual = comparison("meta.file_name", "==", MANUAL)
    in_photo = comparison("meta.file_name", "==", "photo.png")
    pages = retriever.run(question, top_k=2, filters=in_manual)["documents"]
    pages += retriever.run("photo", top_k=1, filters=in_photo)["documents"]
    assert len(pages) == 3
    images = DocumentToImageContent(size=size).run(pages)["image_contents"]
    assert [image.mime_type for image in images] == ["image/jpeg", "image/jpeg", "image/png"]
    for document, content in zip(pages, images, strict=True):
        assert content.meta["file_path"] == document.meta["file_path"]
        with Image.open(BytesIO(base64.b64decode(content.base64_image))) as image:
            assert size is None or max(image.size) <= 300
            aspect_ratio = image.width / image.height
        with pymupdf.open(document.meta["file_path"]) as file:
            page = file[document.meta["page_number"] - 1].rect
        assert aspect_ratio == pytest.approx(page.width / page.height, rel=0.01)


def test_the_images_that_docrag_rendered_can_be_used_too(retriever: DocragRetriever):
    pages = retriever.run(FERRY.text)["documents"]
    images = DocumentToImageContent(file_path_meta_field="image_path").run(pages)["image_contents"]
    for document, content in zip(pages, images, strict=True):
        assert base64.b64decode(content.base64_image) == Path(document.meta["image_path"]).read_bytes()


@pytest.mark.slow
def test_relative_paths_are_relative_to_where_the_file_was_ingested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "pictures").mkdir()
    make_image(2).save(tmp_path / "pictures" / "harbour.png")
    monkeypatch.chdir(tmp_path)
    with Index.open("index") as opened:
        opened.ingest("pictures")
    retriever = DocragRetriever("index")
    [document] = retriever.run("harbour", mode="cosine")["documents"]
    retriever.close()
    assert document.meta["file_path"] == "pictures/harbour.png"
    assert document.meta["image_path"].startswith(str(tmp_path))
    monkeypatch.chdir("/")
    [content] = DocumentToImageContent(root_path=str(tmp_path)).run([document])["image_contents"]
    original = (tmp_path / "pictures" / "harbour.png").read_bytes()
    assert base64.b64decode(content.base64_image) == original


def test_image_path_is_none_if_the_file_no_longer_exists(demo_index: Index, tmp_path: Path):
    [hit] = demo_index.search("ferry", k=1)
    document = hit_document(replace(hit, image_path=tmp_path / "gone.jpg"))
    assert document.meta["image_path"] is None


def test_an_image_that_is_not_here_yet_is_made(demo_index: Index, tmp_path: Path):
    [hit] = demo_index.search("ferry", k=1)
    later = tmp_path / "later.jpg"
    document = hit_document(replace(hit, image_path=later, render=lambda: later.write_bytes(b"image")))
    assert document.meta["image_path"] == str(later)
    assert later.read_bytes() == b"image"
