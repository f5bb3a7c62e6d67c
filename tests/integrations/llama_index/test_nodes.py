"""The nodes that the retriever returns: their image, their metadata and their document."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from llama_index.core.schema import ImageNode, MetadataMode, NodeRelationship, TextNode
from llama_index_docrag import DocragRetriever
from llama_index_docrag.nodes import page_node
from PIL import Image

from docrag import Index
from docrag.demo import QUESTIONS
from docrag.types import is_page_id
from tests.integrations.llama_index.helpers import FERRY_QUESTION, MANUAL


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.file)
def test_a_page_is_a_node_with_its_image(demo_index: Index, question):
    node = DocragRetriever(demo_index, k=1).retrieve(question.text)[0].node
    assert isinstance(node, ImageNode)
    assert is_page_id(node.node_id)
    assert node.image_mimetype == "image/jpeg"
    with Image.open(node.image_path) as image:
        assert image.format == "JPEG"
    assert len(node.text) > 50
    assert Path(node.metadata["file_path"]).is_file()
    assert node.metadata["page_label"]
    box = node.metadata["regions"][0]["box"]
    assert 0 <= box[0] < box[2] <= 1
    assert set(node.metadata["scores"]) <= {"late", "cosine", "text"}


def test_a_node_refers_to_its_document(demo_index: Index):
    [first, second] = DocragRetriever(demo_index, k=2, filter={"file_name": MANUAL}).retrieve("lamp")
    source = first.node.relationships[NodeRelationship.SOURCE]
    assert first.node.ref_doc_id == second.node.ref_doc_id == source.node_id
    assert source.node_id == first.node.metadata["document_id"]
    assert source.metadata["file_name"] == MANUAL
    assert ImageNode.from_json(first.node.to_json()) == first.node


@pytest.mark.parametrize("mode", [MetadataMode.LLM, MetadataMode.EMBED])
def test_a_model_is_shown_the_name_of_the_page_but_not_all_metadata(demo_index: Index, mode: MetadataMode):
    node = DocragRetriever(demo_index, k=1).retrieve(FERRY_QUESTION.text)[0].node
    content = node.get_content(mode)
    assert node.text in content
    assert f"file_name: {FERRY_QUESTION.file}" in content
    assert "page_label: " in content
    for hidden in ("regions", "box", "scores", "/", node.node_id):
        assert f"{hidden}:" not in content
    assert node.image_path not in content


def test_a_page_without_its_image_file_has_an_address_or_is_text(demo_index: Index, tmp_path: Path):
    [hit] = demo_index.search("ferry", k=1)
    without_file = replace(hit, image_path=tmp_path / "gone.jpg")
    image_node = page_node(without_file).node
    assert isinstance(image_node, ImageNode)
    assert (image_node.image_path, image_node.image_url) == (None, hit.image_url)
    text_node = page_node(replace(without_file, image_url="")).node
    assert type(text_node) is TextNode
    assert text_node.get_content_blocks()[0].text == hit.text


def test_an_image_that_is_not_here_yet_is_made(demo_index: Index, tmp_path: Path):
    [hit] = demo_index.search("ferry", k=1)
    later = tmp_path / "later.jpg"
    node = page_node(replace(hit, image_path=later, render=lambda: later.write_bytes(b"image"))).node
    assert isinstance(node, ImageNode)
    assert node.image_path == str(later)
    assert later.read_bytes() == b"image"
