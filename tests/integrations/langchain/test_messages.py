"""Retrieved pages as messages for vision models."""

from __future__ import annotations

import base64
import io
import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, convert_to_openai_messages
from langchain_docrag import DocragRetriever, show_pages, to_messages
from langchain_docrag.documents import page_document
from langchain_docrag.messages import NO_PAGES, page_blocks, page_line
from PIL import Image

from docrag.demo import QUESTIONS
from docrag.errors import DocumentError, SettingsError

QUESTION = QUESTIONS[0]


@pytest.fixture
def retriever(demo_index) -> DocragRetriever:
    return demo_index.as_retriever(k=2)


@pytest.fixture
def docs(retriever) -> list[Document]:
    return retriever.invoke(QUESTION.text)


def decoded(block) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(block["base64"])))


def images(message) -> list[Image.Image]:
    return [decoded(block) for block in message.content_blocks if block["type"] == "image"]


def texts(message) -> list[str]:
    return [block["text"] for block in message.content_blocks if block["type"] == "text"]


def test_each_image_follows_its_file_and_page_and_the_question_comes_last(docs):
    [message] = to_messages(docs, QUESTION.text, instruction="Answer briefly.")
    kinds = [block["type"] for block in message.content_blocks]
    assert kinds == ["text", "text", "image", "text", "image", "text"]
    assert texts(message) == ["Answer briefly.", page_line(docs[0]), page_line(docs[1]), QUESTION.text]
    assert texts(message)[1] == f"{QUESTION.file}, page {QUESTION.page} (printed 1)"


def test_pages_are_sent_byte_for_byte_as_stored(docs):
    [message] = to_messages(docs, QUESTION.text)
    blocks = [block for block in message.content_blocks if block["type"] == "image"]
    assert {block["mime_type"] for block in blocks} == {"image/jpeg"}
    assert [base64.b64decode(block["base64"]) for block in blocks] == [
        Path(doc.metadata["image_path"]).read_bytes() for doc in docs
    ]


def test_regions_are_smaller_than_the_page_and_thumbnails_have_512_pixels(docs):
    [pages], [regions], [thumbnails] = (
        to_messages(docs, QUESTION.text, detail=detail) for detail in ("page", "regions", "thumbnail")
    )
    for page, region, thumbnail in zip(images(pages), images(regions), images(thumbnails), strict=True):
        assert region.width * region.height < page.width * page.height
        assert max(thumbnail.size) == 512
        assert thumbnail.width / thumbnail.height == pytest.approx(page.width / page.height, abs=0.01)


def test_regions_show_what_is_in_their_boxes(tmp_path):
    page = Image.new("RGB", (200, 200), "white")
    page.paste("red", (0, 0, 200, 40))
    page.paste("blue", (0, 160, 200, 200))
    page.save(tmp_path / "1.jpg", quality=100, subsampling=0)
    regions = [{"box": box, "score": 0.5, "text": ""} for box in ([0, 0.8, 1, 1], [0, 0, 1, 0.2])]
    metadata = {"source": "a.pdf", "page": 0, "image_path": str(tmp_path / "1.jpg"), "regions": regions}
    [_, block] = page_blocks([Document("", metadata=metadata)], detail="regions")
    stacked = decoded(block)
    assert stacked.height < 120
    red = stacked.getpixel((100, 5))
    blue = stacked.getpixel((100, stacked.height - 5))
    assert red[0] > 200 > 60 > red[2]
    assert blue[2] > 200 > 60 > blue[0]


def test_pages_without_regions_are_shown_whole(retriever):
    docs = retriever.invoke(QUESTION.text, k=1, neighbours=1)
    [message] = to_messages(docs, QUESTION.text, detail="regions")
    heights = [image.height for image in images(message)]
    assert heights[0] == heights[2] == 1280
    assert heights[1] < 1280


def test_documents_read_from_json_are_shown_the_same(docs):
    serialized = json.dumps([doc.model_dump() for doc in docs])
    restored = [Document(**fields) for fields in json.loads(serialized)]
    for detail in ("page", "regions", "thumbnail"):
        [before] = to_messages(docs, "?", detail=detail)
        [after] = to_messages(restored, "?", detail=detail)
        assert [image.tobytes() for image in images(before)] == [image.tobytes() for image in images(after)]


def test_images_included_in_the_document_need_no_file(retriever):
    [doc] = retriever.invoke(QUESTION.text, k=1, include_images=True)
    page = images(to_messages([doc], "?")[0])[0]
    doc.metadata["image_path"] = "/nowhere/1.jpg"
    assert images(to_messages([doc], "?")[0])[0] == page


def test_an_image_that_is_not_here_yet_is_made(demo_index, tmp_path):
    [hit] = demo_index.search(QUESTION.text, k=1)
    jpeg = hit.image_path.read_bytes()
    later = tmp_path / "later.jpg"
    doc = page_document(replace(hit, image_path=later, render=lambda: later.write_bytes(jpeg)))
    assert len(images(to_messages([doc], "?")[0])) == 1
    assert later.read_bytes() == jpeg


@pytest.mark.parametrize("path", ["/nowhere/1.jpg", "", None])
@pytest.mark.parametrize("detail", ["page", "regions", "thumbnail"])
def test_a_missing_image_is_an_error_or_is_replaced_by_the_text(docs, path, detail, caplog):
    docs[0].metadata["image_path"] = path
    with pytest.raises(DocumentError, match=f"no image of .*{QUESTION.file}, page {QUESTION.page}.*missing="):
        to_messages(docs, QUESTION.text, detail=detail)
    with caplog.at_level(logging.INFO, "langchain_docrag"):
        [message] = to_messages(docs, QUESTION.text, detail=detail, missing="text")
    assert "showing the text of a page in place of its image" in caplog.text
    assert len(images(message)) == 1
    assert any("(no image)" in text and docs[0].page_content in text for text in texts(message))


@pytest.mark.parametrize(
    ("metadata", "line"),
    [
        ({}, "a document without a name"),
        ({"source": "a/notes.md"}, "notes.md"),
        ({"source": "a/b.pdf", "page": 1}, "b.pdf, page 2"),
    ],
)
def test_documents_of_other_retrievers_are_shown_as_text(docs, metadata, line):
    mixed = [Document("Of another retriever.", metadata=metadata), *docs]
    with pytest.raises(DocumentError, match=f"no image of .*{line}, at any path"):
        to_messages(mixed, "?")
    [message] = to_messages(mixed, "?", missing="text")
    assert f"{line} (no image)\nOf another retriever." in texts(message)


def test_a_damaged_image_is_an_error(docs, tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"\xff\xd8 no more")
    docs[0].metadata["image_path"] = str(tmp_path / "1.jpg")
    with pytest.raises(DocumentError, match=f"page {QUESTION.page} is damaged"):
        to_messages(docs, QUESTION.text, detail="thumbnail")


def test_unknown_values_of_detail_and_missing_are_refused(docs):
    with pytest.raises(SettingsError, match=r"detail='high'.*page, regions, thumbnail"):
        to_messages(docs, "?", detail="high")
    with pytest.raises(SettingsError, match=r"missing='skip'.*error, text"):
        to_messages(docs, "?", missing="skip")


def test_without_documents_the_model_is_told_so():
    [message] = to_messages([], "Where?", instruction="")
    assert texts(message) == [NO_PAGES, "Where?"]


def test_langchain_translates_the_images_for_openai(docs):
    [message] = convert_to_openai_messages(to_messages(docs, QUESTION.text))
    urls = [part["image_url"]["url"] for part in message["content"] if part["type"] == "image_url"]
    assert len(urls) == 2
    assert all(url.startswith("data:image/jpeg;base64,/9j/") for url in urls)


def test_pages_of_tools_are_shown_after_the_last_message_of_the_tools(docs):
    calls = AIMessage("", tool_calls=[{"name": "search_pages", "args": {}, "id": name} for name in "ab"])
    answers = [ToolMessage("found", tool_call_id=name, artifact=[docs[i]]) for i, name in enumerate("ab")]
    other_tool = ToolMessage("4", tool_call_id="c", artifact=[1, 2])
    conversation = [
        HumanMessage("How much?"),
        calls,
        *answers,
        AIMessage("Much."),
        HumanMessage("Sure?"),
        other_tool,
    ]
    shown = show_pages(conversation)
    assert [message.type for message in shown] == [
        "human", "ai", "tool", "tool", "human", "ai", "human", "tool"
    ]  # fmt: skip
    assert texts(shown[4]) == [page_line(doc) for doc in docs]
    assert len(images(shown[4])) == 2
    assert [message for message in shown if message is not shown[4]] == conversation
    assert show_pages(conversation[:4])[-1].type == "human"
    assert show_pages([]) == []
