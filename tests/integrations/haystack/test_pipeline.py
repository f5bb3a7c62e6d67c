"""The component in Haystack pipelines: run, written as YAML and read again."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import pytest
from haystack import Pipeline, component
from haystack.components.builders import ChatPromptBuilder
from haystack.components.converters.image import DocumentToImageContent
from haystack.core.errors import DeserializationError
from haystack.dataclasses import ChatMessage, ImageContent
from haystack.document_stores.types import FilterPolicy
from haystack.utils import Secret
from haystack_docrag import DocragRetriever
from PIL import Image

from tests.integrations.haystack.helpers import MANUAL, PURIFIER, comparison, files_and_pages
from tests.processes import is_held

TEMPLATE = """
{% message role="user" %}
Answer from these pages: {{ question }}
{% for document in documents %}{{ document.meta.file_name }}, page {{ document.meta.page_label }}
{% endfor %}{% for image in images %}{{ image | templatize_part }}{% endfor %}
{% endmessage %}
"""


@component
class RecordingChatGenerator:
    """Stands in for a chat generator: answers "42" and records the messages that it receives."""

    def __init__(self) -> None:
        self.conversations: list[list[ChatMessage]] = []

    @component.output_types(replies=list[ChatMessage])
    def run(self, messages: list[ChatMessage]) -> dict[str, Any]:
        self.conversations.append(messages)
        return {"replies": [ChatMessage.from_assistant("42")]}

    @component.output_types(replies=list[ChatMessage])
    async def run_async(self, messages: list[ChatMessage]) -> dict[str, Any]:
        return self.run(messages)


def rag_pipeline(index: str) -> Pipeline:
    pipeline = Pipeline()
    pipeline.add_component("retriever", DocragRetriever(index, top_k=2))
    pipeline.add_component("images", DocumentToImageContent(detail="high", size=(600, 600)))
    pipeline.add_component("prompt", ChatPromptBuilder(template=TEMPLATE, required_variables="*"))
    pipeline.add_component("model", RecordingChatGenerator())
    pipeline.connect("retriever.documents", "images.documents")
    pipeline.connect("retriever.documents", "prompt.documents")
    pipeline.connect("images.image_contents", "prompt.images")
    pipeline.connect("prompt.prompt", "model.messages")
    return pipeline


def retriever_pipeline(retriever: DocragRetriever) -> Pipeline:
    pipeline = Pipeline()
    pipeline.add_component("retriever", retriever)
    return pipeline


async def test_a_pipeline_shows_the_pages_to_a_model(index: str):
    pipeline = rag_pipeline(index)
    data = {"retriever": {"query": PURIFIER.text}, "prompt": {"question": PURIFIER.text}}
    try:
        answers = [pipeline.run(data), await pipeline.run_async(data)]
        assert is_held(index)
    finally:
        pipeline.close()
    assert [answer["model"]["replies"][0].text for answer in answers] == ["42", "42"]
    conversations = pipeline.get_component("model").conversations
    assert len(conversations) == 2
    for [message] in conversations:
        assert PURIFIER.text in message.text
        assert f"{MANUAL}, page {PURIFIER.page}" in message.text
        best, second = message.images
        assert isinstance(best, ImageContent)
        assert (best.meta["page_number"], best.detail) == (PURIFIER.page, "high")
        with Image.open(BytesIO(base64.b64decode(best.base64_image))) as page:
            assert max(page.size) == 600
        assert second.meta != best.meta
    assert not is_held(index), "Pipeline.close closed the component's index"


def test_a_pipeline_is_written_and_read(index: str, monkeypatch: pytest.MonkeyPatch):
    pipeline = retriever_pipeline(
        DocragRetriever(
            index,
            top_k=4,
            mode="late",
            filters=comparison("meta.file_name", "==", MANUAL),
            filter_policy=FilterPolicy.MERGE,
            score_threshold=0.1,
            api_key=Secret.from_env_var("MY_QDRANT_KEY", strict=False),
        )
    )
    monkeypatch.setenv("MY_QDRANT_KEY", "never-written-down")
    serialized = pipeline.dumps()
    assert "never-written-down" not in serialized
    assert "MY_QDRANT_KEY" in serialized
    loaded = Pipeline.loads(serialized, allowed_modules=["haystack_docrag"])
    assert loaded.dumps() == serialized
    retriever = loaded.get_component("retriever")
    assert retriever.filter_policy is FilterPolicy.MERGE
    assert retriever.api_key.resolve_value() == "never-written-down"
    try:
        answer = loaded.run({"retriever": {"query": "lamp"}})
    finally:
        loaded.close()
    assert {file for file, _ in files_and_pages(answer["retriever"]["documents"])} == {MANUAL}


def test_haystack_loads_the_package_only_if_it_is_allowed(index: str):
    serialized = retriever_pipeline(DocragRetriever(index)).dumps()
    with pytest.raises(DeserializationError, match="haystack_docrag"):
        Pipeline.loads(serialized)


def test_a_key_given_as_text_is_never_written(index: str):
    with pytest.raises(ValueError, match="token"):
        DocragRetriever(index, api_key=Secret.from_token("secret")).to_dict()


def test_to_dict_and_from_dict_are_inverse():
    retriever = DocragRetriever()
    assert DocragRetriever.from_dict(retriever.to_dict()).to_dict() == retriever.to_dict()
