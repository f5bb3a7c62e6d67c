"""The retriever in LlamaIndex query engines: what a language model is shown."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ImageBlock,
    TextBlock,
)
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index_docrag import DocragRetriever
from pydantic import PrivateAttr

from docrag import Index
from tests.integrations.llama_index.helpers import (
    ANNUAL_REPORT,
    FERRY_QUESTION,
    MANUAL,
    PURIFIER_QUESTION,
    files_and_pages,
)


class RecordingLLM(MockLLM):
    """Answers "42" and records what it is asked."""

    _prompts: list[str] = PrivateAttr(default_factory=list)
    _conversations: list[list[ChatMessage]] = PrivateAttr(default_factory=list)

    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        self._prompts.append(prompt)
        return CompletionResponse(text="42")

    async def acomplete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        return self.complete(prompt)

    def chat(self, messages: Sequence[ChatMessage], **_: Any) -> ChatResponse:
        self._conversations.append(list(messages))
        return ChatResponse(message=ChatMessage(role="assistant", content="42"))

    async def achat(self, messages: Sequence[ChatMessage], **_: Any) -> ChatResponse:
        return self.chat(messages)


@pytest.mark.parametrize("mode", [ResponseMode.COMPACT, ResponseMode.TREE_SUMMARIZE])
async def test_a_text_model_is_shown_the_text(demo_index: Index, mode: ResponseMode):
    model = RecordingLLM(max_tokens=256)
    engine = RetrieverQueryEngine.from_args(DocragRetriever(demo_index, k=2), llm=model, response_mode=mode)
    answers = [engine.query(FERRY_QUESTION.text), await engine.aquery(FERRY_QUESTION.text)]
    assert [str(answer) for answer in answers] == ["42", "42"]
    assert files_and_pages(answers[0].source_nodes)[0] == (ANNUAL_REPORT, FERRY_QUESTION.page)
    assert len(model._prompts) == 2
    for prompt in model._prompts:
        assert FERRY_QUESTION.text in prompt
        assert answers[0].source_nodes[0].text.split("\n")[0] in prompt
        assert "box" not in prompt


async def test_a_vision_model_is_shown_the_page_image(demo_index: Index):
    model = RecordingLLM(is_chat_model=True, max_tokens=256)
    engine = RetrieverQueryEngine.from_args(DocragRetriever(demo_index, k=1), llm=model, multimodal=True)
    answers = [engine.query(PURIFIER_QUESTION.text), await engine.aquery(PURIFIER_QUESTION.text)]
    assert [str(answer) for answer in answers] == ["42", "42"]
    page = demo_index.page(answers[0].source_nodes[0].node_id)
    assert (Path(page.file).name, page.page) == (MANUAL, PURIFIER_QUESTION.page)
    assert len(model._conversations) == 2
    for conversation in model._conversations:
        blocks = [block for message in conversation for block in message.blocks]
        [image] = [block for block in blocks if isinstance(block, ImageBlock)]
        prefix, data = str(image.url).split(",")  # the bytes and not the address, which may not be served
        assert prefix == "data:image/jpeg;base64"
        assert base64.b64decode(data) == page.image_path.read_bytes()
        text = "".join(block.text for block in blocks if isinstance(block, TextBlock))
        assert PURIFIER_QUESTION.text in text
