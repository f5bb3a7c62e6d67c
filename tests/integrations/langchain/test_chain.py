"""Chains and agents: a model behind an OpenAI-compatible API is shown the page that answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_model_call
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from langchain_docrag import DocragRetriever, docrag_tool, show_pages, to_messages
from langchain_openai import ChatOpenAI

from docrag import Index
from docrag.demo import QUESTIONS, documents
from tests.servers import Answer, ModelServer, Request

QUESTION = QUESTIONS[0]
ANSWER = "3.1 million, on page 3."
MIN_CORRECT = 12
"""Of the 15 questions of the smoke set, with a relevant page among the 5 best."""


def parts(request: Request, kind: str) -> list[dict[str, Any]]:
    """The content parts of a kind, in all messages of a request to the model."""
    contents = [message["content"] for message in request.body["messages"]]
    return [
        part for content in contents if isinstance(content, list) for part in content if part["type"] == kind
    ]


def images(request: Request) -> list[bytes]:
    """The images in a request to the model."""
    urls = [part["image_url"]["url"] for part in parts(request, "image_url")]
    assert all(url.startswith("data:image/jpeg;base64,") for url in urls)
    return [base64.b64decode(url.partition(",")[2]) for url in urls]


def completion(request: Request, **message: Any) -> Answer:
    """An answer of OpenAI's chat completions, complete or as a stream."""
    head = {"id": "1", "created": 0, "model": "vision"}
    if not request.body.get("stream"):
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}
        body = {**head, "object": "chat.completion", "choices": [choice]}
        return Answer(body=body, headers={"Content-Type": "application/json"})
    lines = []
    for word in message["content"].split(" "):
        delta = {"role": "assistant", "content": f"{word} "}
        chunk = {**head, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]}
        lines.append(f"data: {json.dumps(chunk)}\n\n")
    return Answer(body="".join([*lines, "data: [DONE]\n\n"]), headers={"Content-Type": "text/event-stream"})


@pytest.fixture
def server() -> Iterator[ModelServer]:
    """A model that gives the same answer to every question."""
    with ModelServer(lambda request: completion(request, content=ANSWER)) as server:
        yield server


def model_at(server: ModelServer) -> ChatOpenAI:
    return ChatOpenAI(model="vision", base_url=server.url, api_key="none", max_retries=0)


def rag(retriever: Runnable[str, Any], model: Runnable[Any, Any], detail: str = "page") -> Runnable[str, str]:
    """A chain that retrieves pages, shows them to the model and asks it the question."""
    show = RunnableLambda(lambda inputs: to_messages(inputs["docs"], inputs["question"], detail=detail))
    return {"docs": retriever, "question": RunnablePassthrough()} | show | model | StrOutputParser()


@pytest.fixture(scope="session")
def smoke(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """The three real documents, ingested once."""
    with Index.open(tmp_path_factory.mktemp("smoke") / "index") as index:
        assert not index.ingest(shared / "smoke" / "pdfs").failures
        yield index


@pytest.fixture(scope="session")
def relevant_images(shared: Path, smoke: Index) -> dict[str, set[bytes]]:
    """Questions about the three documents, and the images of the pages that answer each of them."""
    root = shared / "smoke"
    rows = [json.loads(line) for line in (root / "queries.jsonl").read_text().splitlines()]
    text_of = {row["_id"]: row["text"] for row in rows}
    retriever = smoke.as_retriever(k=1)
    relevant: dict[str, set[bytes]] = {text: set() for text in text_of.values()}
    for line in (root / "qrels.tsv").read_text().splitlines()[1:]:
        query_id, document, _ = line.split("\t")
        file, _, page = document.rpartition("#")
        if query_id in text_of:
            [doc] = retriever.invoke("page", filter={"file_name": file, "page": int(page)})
            relevant[text_of[query_id]].add(Path(doc.metadata["image_path"]).read_bytes())
    return relevant


def count_correct(server: ModelServer, relevant_images: dict[str, set[bytes]]) -> int:
    """For how many questions the model was sent a relevant page; each question was asked once."""
    correct = 0
    by_question = {parts(request, "text")[-1]["text"]: request for request in server.requests}
    assert by_question.keys() == relevant_images.keys()
    assert len(server.requests) == len(relevant_images)
    for question, request in by_question.items():
        sent = images(request)
        assert len(sent) == 5
        correct += bool(relevant_images[question] & set(sent))
    return correct


@pytest.mark.slow
@pytest.mark.parametrize("method", ["invoke", "ainvoke", "batch", "abatch", "stream", "astream"])
async def test_the_model_is_shown_the_page_that_answers(smoke, relevant_images, server, method):
    chain = rag(smoke.as_retriever(k=5), model_at(server))
    questions = list(relevant_images)
    synchronous = {
        "invoke": lambda: [chain.invoke(question) for question in questions],
        "batch": lambda: chain.batch(questions, {"max_concurrency": 4}),
        "stream": lambda: ["".join(chain.stream(question)) for question in questions],
    }
    if method in synchronous:
        answers = synchronous[method]()
    elif method == "abatch":
        answers = await chain.abatch(questions, {"max_concurrency": 4})
    elif method == "ainvoke":
        answers = [await chain.ainvoke(question) for question in questions]
    else:
        answers = ["".join([part async for part in chain.astream(question)]) for question in questions]
    assert {answer.strip() for answer in answers} == {ANSWER}
    assert count_correct(server, relevant_images) >= MIN_CORRECT


@pytest.mark.slow
def test_regions_that_a_chain_sends_are_smaller_than_pages(demo_index, server):
    for detail in ("page", "regions"):
        assert rag(demo_index.as_retriever(k=2), model_at(server), detail).invoke(QUESTION.text) == ANSWER
    pages, regions = (images(request) for request in server.requests)
    assert len(pages) == len(regions) == 2
    assert sum(map(len, regions)) < sum(map(len, pages))
    texts = [part["text"] for part in parts(server.requests[1], "text")]
    assert any(text.startswith(f"{QUESTION.file}, page {QUESTION.page}") for text in texts)
    assert texts[-1] == QUESTION.text


def test_arguments_of_the_retriever_can_be_bound_in_a_chain(demo_index, server):
    rag(demo_index.as_retriever().bind(k=1, mode="text"), model_at(server)).invoke(QUESTION.text)
    assert len(images(server.requests[0])) == 1


def test_a_chain_with_langchains_own_fake_model(demo_index):
    model = GenericFakeChatModel(messages=iter([AIMessage(ANSWER)]))
    assert "".join(rag(demo_index.as_retriever(k=1), model).stream(QUESTION.text)) == ANSWER


CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "search_pages", "arguments": json.dumps({"query": QUESTION.text})},
}


@pytest.fixture
def agents_server() -> Iterator[ModelServer]:
    """A model that calls the tool once and then answers."""

    def answer(request: Request) -> Answer:
        if request.body["messages"][-1]["role"] == "user" and not images(request):
            return completion(request, content=None, tool_calls=[CALL])
        return completion(request, content=ANSWER)

    with ModelServer(answer) as server:
        yield server


async def test_an_agent_reads_the_text_of_pages(demo_index, agents_server):
    tool = docrag_tool(demo_index.as_retriever(k=2))
    agent = create_agent(model_at(agents_server), [tool])
    inputs = {"messages": [{"role": "user", "content": QUESTION.text}]}
    for state in (agent.invoke(inputs), await agent.ainvoke(inputs)):
        *_, tool_message, answer = state["messages"]
        assert answer.content == ANSWER
        assert tool_message.artifact[0].metadata["page"] == QUESTION.page - 1
    first, second = agents_server.requests[:2]
    [function] = first.body["tools"]
    assert function["function"]["name"] == "search_pages"
    assert list(function["function"]["parameters"]["properties"]) == ["query"]
    tool_answer = second.body["messages"][-1]
    assert (tool_answer["role"], tool_answer["tool_call_id"]) == ("tool", "call_1")
    assert tool_answer["content"].startswith(f"{QUESTION.file}, page {QUESTION.page}")


async def test_an_agent_is_shown_pages_in_a_human_message_if_tools_can_only_send_text(
    demo_index, agents_server
):
    @wrap_model_call
    async def with_pages(request, handler):
        return await handler(request.override(messages=show_pages(request.messages, detail="regions")))

    tool = docrag_tool(demo_index.as_retriever(k=2))
    agent = create_agent(model_at(agents_server), [tool], middleware=[with_pages])
    state = await agent.ainvoke({"messages": [{"role": "user", "content": QUESTION.text}]})
    assert [message.type for message in state["messages"]] == ["human", "ai", "tool", "ai"]
    sent = agents_server.requests[1].body["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "user"]
    assert len(images(agents_server.requests[1])) == 2


def test_the_tool_of_an_agent_sends_images_if_its_provider_accepts_them(demo_index, agents_server):
    tool = docrag_tool(demo_index.as_retriever(k=1), images="page")
    agent = create_agent(model_at(agents_server), [tool])
    agent.invoke({"messages": [{"role": "user", "content": QUESTION.text}]})
    tool_answer = agents_server.requests[1].body["messages"][-1]
    assert tool_answer["role"] == "tool"
    assert [part["type"] for part in tool_answer["content"]] == ["text", "image_url"]


@pytest.mark.slow
def test_a_retriever_opened_from_a_folder_answers_in_a_chain(tmp_path, server):
    with DocragRetriever.from_folder(documents() / QUESTION.file, index=tmp_path / "index", k=1) as retriever:
        assert rag(retriever, model_at(server)).invoke(QUESTION.text) == ANSWER
    assert len(images(server.requests[0])) == 1
