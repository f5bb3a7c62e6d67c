"""docrag_tool: what the model is shown, and which errors it is told about."""

from __future__ import annotations

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import ToolMessage
from langchain_docrag import docrag_tool
from langchain_docrag.messages import NO_PAGES, page_line

from docrag import Index
from docrag.demo import QUESTIONS
from docrag.errors import StoreError

QUESTION = QUESTIONS[0]
LINE = f"{QUESTION.file}, page {QUESTION.page} (printed 1)"


@pytest.fixture
def retriever(demo_index):
    return demo_index.as_retriever(k=2)


def call(**arguments) -> dict:
    return {"name": "search_pages", "args": arguments, "id": "1", "type": "tool_call"}


def test_the_message_has_the_text_and_the_documents_as_artifact(retriever):
    message = docrag_tool(retriever).invoke(call(query=QUESTION.text))
    docs = retriever.invoke(QUESTION.text)
    assert isinstance(message, ToolMessage)
    assert message.artifact == docs
    assert isinstance(message.content, str)
    assert message.content.startswith(f"{LINE}\n{docs[0].page_content[:100]}")
    assert page_line(docs[1]) in message.content


async def test_ainvoke_returns_the_same(retriever):
    tool = docrag_tool(retriever)
    assert await tool.ainvoke(call(query=QUESTION.text)) == tool.invoke(call(query=QUESTION.text))


@pytest.mark.parametrize("detail", ["page", "regions", "thumbnail"])
def test_images_follow_the_text_if_they_are_asked_for(retriever, detail):
    message = docrag_tool(retriever, images=detail).invoke(call(query=QUESTION.text))
    assert [block["type"] for block in message.content_blocks] == ["text", "image"] * 2
    assert message.content_blocks[0]["text"].startswith(f"{LINE}\n")
    assert len(message.artifact) == 2


def test_long_pages_are_cut_between_words(retriever):
    message = docrag_tool(retriever, characters=50).invoke(call(query=QUESTION.text))
    first = message.content.split("\n\n")[0]
    assert first.endswith(" ...")
    assert len(first) < 50 + len(f"{LINE}\n ...")


def test_name_description_and_schema_of_the_tool(retriever):
    tool = docrag_tool(retriever, name="reports", description="Annual reports of ferry companies.")
    assert (tool.name, tool.description) == ("reports", "Annual reports of ferry companies.")
    schema = tool.tool_call_schema.model_json_schema()
    assert schema["properties"].keys() == {"query"}


def test_a_query_that_cannot_be_answered_is_an_error_for_the_model(retriever):
    message = docrag_tool(retriever).invoke(call(query=" "))
    assert message.status == "error"
    assert "empty" in message.content


def test_without_pages_the_model_is_told_so(demo_index):
    retriever = demo_index.as_retriever(filter={"file_name": "nothing.pdf"})
    message = docrag_tool(retriever, images="page").invoke(call(query=QUESTION.text))
    assert (message.content, message.artifact) == (NO_PAGES, [])


def test_errors_that_the_model_cannot_correct_are_raised(tmp_path):
    with Index.open(tmp_path / "index") as index:
        retriever = index.as_retriever()
    with pytest.raises(StoreError, match="closed"):
        docrag_tool(retriever).invoke(call(query="ferry"))


def test_callbacks_of_the_call_are_notified_of_the_retrieval(retriever):
    class QueryRecorder(BaseCallbackHandler):
        def on_retriever_start(self, serialized, query, **kwargs):
            queries.append(query)

    queries: list[str] = []
    docrag_tool(retriever).invoke(call(query=QUESTION.text), {"callbacks": [QueryRecorder()]})
    assert queries == [QUESTION.text]
