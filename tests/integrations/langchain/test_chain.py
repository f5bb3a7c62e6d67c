"""Whole chains and agents: a model behind an OpenAI-compatible address is shown the page that answers."""

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
from docrag.demo import QUESTIONS
from tests.servers import Answer, ModelServer, Request

QUESTION = QUESTIONS[0]
SAID = "3.1 million, on page 3."
LEAST_RIGHT = 12
"""Of the 15 questions of the smoke set, within the 5 best pages."""


def parts(request: Request, kind: str) -> list[dict[str, Any]]:
    """What a request to the model holds of a kind, in all of its messages."""
    contents = [message["content"] for message in request.body["messages"]]
    return [
        part for content in contents if isinstance(content, list) for part in content if part["type"] == kind
    ]


def images(request: Request) -> list[bytes]:
    """The images that a model was sent."""
    urls = [part["image_url"]["url"] for part in parts(request, "image_url")]
    assert all(url.startswith("data:image/jpeg;base64,") for url in urls)
    return [base64.b64decode(url.partition(",")[2]) for url in urls]


def completion(request: Request, **said: Any) -> Answer:
    """What OpenAI's chat completions answer, at once or as a stream."""
    head = {"id": "1", "created": 0, "model": "vision"}
    if not request.body.get("stream"):
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **said}}
        body = {**head, "object": "chat.completion", "choices": [choice]}
        return Answer(body=body, headers={"Content-Type": "application/json"})
    lines = []
    for word in said["content"].split(" "):
        delta = {"role": "assistant", "content": f"{word} "}
        chunk = {**head, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]}
        lines.append(f"data: {json.dumps(chunk)}\n\n")
    return Answer(body="".join([*lines, "data: [DONE]\n\n"]), headers={"Content-Type": "text/event-stream"})


@pytest.fixture
def server() -> Iterator[ModelServer]:
    """Says the same whatever it is asked."""
    with ModelServer(lambda request: completion(request, content=SAID)) as server:
        yield server


def model_at(server: ModelServer) -> ChatOpenAI:
    return ChatOpenAI(model="vision", base_url=server.url, api_key="none", max_retries=0)


def rag(retriever: Runnable[str, Any], model: Runnable[Any, Any], detail: str = "page") -> Runnable[str, str]:
    """Retrieve, show, ask."""
    show = RunnableLambda(lambda found: to_messages(found["docs"], found["question"], detail=detail))
    return {"docs": retriever, "question": RunnablePassthrough()} | show | model | StrOutputParser()


@pytest.fixture(scope="session")
def smoke(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """The three real documents, ingested once."""
    with Index.open(tmp_path_factory.mktemp("smoke") / "index") as index:
        assert not index.ingest(shared / "smoke" / "pdfs").failures
        yield index


@pytest.fixture(scope="session")
def asked(shared: Path, smoke: Index) -> dict[str, set[bytes]]:
    """Questions about them, and the images of the pages that answer each."""
    root = shared / "smoke"
    rows = [json.loads(line) for line in (root / "queries.jsonl").read_text().splitlines()]
    text_of = {row["_id"]: row["text"] for row in rows}
    every = smoke.as_retriever(k=1)
    right: dict[str, set[bytes]] = {text: set() for text in text_of.values()}
    for line in (root / "qrels.tsv").read_text().splitlines()[1:]:
        name, place, _ = line.split("\t")
        file, _, page = place.rpartition("#")
        if name in text_of:
            [doc] = every.invoke("page", filter={"file_name": file, "page": int(page)})
            right[text_of[name]].add(Path(doc.metadata["image_path"]).read_bytes())
    return right


def shown_right(server: ModelServer, asked: dict[str, set[bytes]]) -> int:
    """Of how many questions the model was sent a page that answers; it was asked each once."""
    right = 0
    by_question = {parts(request, "text")[-1]["text"]: request for request in server.requests}
    assert by_question.keys() == asked.keys()
    assert len(server.requests) == len(asked)
    for question, request in by_question.items():
        sent = images(request)
        assert len(sent) == 5
        right += bool(asked[question] & set(sent))
    return right


@pytest.mark.slow
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "batch", "abatch", "stream", "astream"])
async def test_the_model_is_shown_the_page_that_answers(smoke, asked, server, way):
    chain, questions = rag(smoke.as_retriever(k=5), model_at(server)), list(asked)
    ways = {
        "invoke": lambda: [chain.invoke(question) for question in questions],
        "batch": lambda: chain.batch(questions, {"max_concurrency": 4}),
        "stream": lambda: ["".join(chain.stream(question)) for question in questions],
    }
    if way in ways:
        answers = ways[way]()
    elif way == "abatch":
        answers = await chain.abatch(questions, {"max_concurrency": 4})
    elif way == "ainvoke":
        answers = [await chain.ainvoke(question) for question in questions]
    else:
        answers = ["".join([part async for part in chain.astream(question)]) for question in questions]
    assert {answer.strip() for answer in answers} == {SAID}
    assert shown_right(server, asked) >= LEAST_RIGHT


def test_a_chain_sends_regions_that_are_smaller_than_pages(demo_index, server):
    for detail in ("page", "regions"):
        assert rag(demo_index.as_retriever(k=2), model_at(server), detail).invoke(QUESTION.text) == SAID
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
    model = GenericFakeChatModel(messages=iter([AIMessage(SAID)]))
    assert "".join(rag(demo_index.as_retriever(k=1), model).stream(QUESTION.text)) == SAID


CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "search_pages", "arguments": json.dumps({"query": QUESTION.text})},
}


@pytest.fixture
def agents_server() -> Iterator[ModelServer]:
    """Calls the tool once, then answers."""

    def answer(request: Request) -> Answer:
        if request.body["messages"][-1]["role"] == "user" and not images(request):
            return completion(request, content=None, tool_calls=[CALL])
        return completion(request, content=SAID)

    with ModelServer(answer) as server:
        yield server


async def test_an_agent_reads_the_text_of_pages(demo_index, agents_server):
    tool = docrag_tool(demo_index.as_retriever(k=2))
    agent = create_agent(model_at(agents_server), [tool])
    said = {"messages": [{"role": "user", "content": QUESTION.text}]}
    for state in (agent.invoke(said), await agent.ainvoke(said)):
        *_, found, answer = state["messages"]
        assert answer.content == SAID
        assert found.artifact[0].metadata["page"] == QUESTION.page - 1
    first, second = agents_server.requests[:2]
    [function] = first.body["tools"]
    assert function["function"]["name"] == "search_pages"
    assert list(function["function"]["parameters"]["properties"]) == ["query"]
    read = second.body["messages"][-1]
    assert (read["role"], read["tool_call_id"]) == ("tool", "call_1")
    assert read["content"].startswith(f"{QUESTION.file}, page {QUESTION.page}")


async def test_an_agent_is_shown_pages_by_a_human_message_where_tools_may_send_text_only(
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


def test_an_agents_tool_sends_images_where_its_provider_takes_them(demo_index, agents_server):
    tool = docrag_tool(demo_index.as_retriever(k=1), images="page")
    agent = create_agent(model_at(agents_server), [tool])
    agent.invoke({"messages": [{"role": "user", "content": QUESTION.text}]})
    read = agents_server.requests[1].body["messages"][-1]
    assert read["role"] == "tool"
    assert [part["type"] for part in read["content"]] == ["text", "image_url"]


def test_a_retriever_opened_from_a_folder_answers_in_a_chain(tmp_path, server):
    from docrag.demo import documents

    with DocragRetriever.from_folder(documents() / QUESTION.file, index=tmp_path / "index", k=1) as retriever:
        assert rag(retriever, model_at(server)).invoke(QUESTION.text) == SAID
    assert len(images(server.requests[0])) == 1
