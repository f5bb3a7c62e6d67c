from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
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
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import ImageNode, MetadataMode, NodeRelationship, QueryBundle, TextNode
from llama_index.core.vector_stores.types import FilterOperator, MetadataFilter, MetadataFilters
from llama_index_docrag import DocragRetriever
from llama_index_docrag.nodes import page_node
from PIL import Image
from pydantic import PrivateAttr

from docrag import Index
from docrag.demo import QUESTIONS
from docrag.errors import DocumentError, IndexInUse, IndexNotFound, NotFound, QueryError
from docrag.types import is_page_id
from tests.samples import APPLE, FERRY, make_image, write_pdf

FERRY_QUESTION, _, PURIFIER_QUESTION = QUESTIONS
MANUAL = "tarn12_manual.pdf"


class Recorder(MockLLM):
    """Answers "42" and keeps what it was asked."""

    _prompts: list[str] = PrivateAttr(default_factory=list)
    _messages: list[list[ChatMessage]] = PrivateAttr(default_factory=list)

    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        self._prompts.append(prompt)
        return CompletionResponse(text="42")

    async def acomplete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        return self.complete(prompt)

    def chat(self, messages: Sequence[ChatMessage], **_: Any) -> ChatResponse:
        self._messages.append(list(messages))
        return ChatResponse(message=ChatMessage(role="assistant", content="42"))

    async def achat(self, messages: Sequence[ChatMessage], **_: Any) -> ChatResponse:
        return self.chat(messages)


def found(nodes: Sequence[Any]) -> list[tuple[str, int]]:
    return [(node.metadata["file_name"], node.metadata["page_number"]) for node in nodes]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.file)
def test_the_page_comes_as_a_node_with_its_image(demo_index: Index, question):
    [best, *others] = DocragRetriever(demo_index, k=3).retrieve(question.text)
    node = best.node
    assert isinstance(node, ImageNode)
    assert (node.metadata["file_name"], node.metadata["page_number"]) == (question.file, question.page)
    assert is_page_id(node.node_id)
    assert best.score >= others[0].score >= others[1].score
    assert node.image_mimetype == "image/jpeg"
    with Image.open(node.image_path) as image:
        assert image.format == "JPEG"
    assert len(node.text) > 50
    assert Path(node.metadata["file_path"]).is_file()
    assert node.metadata["page_label"]
    box = node.metadata["regions"][0]["box"]
    assert 0 <= box[0] < box[2] <= 1
    assert set(node.metadata["scores"]) <= {"late", "cosine", "text"}


def test_a_node_names_its_document(demo_index: Index):
    [first, second] = DocragRetriever(demo_index, k=2, filter={"file_name": MANUAL}).retrieve("lamp")
    source = first.node.relationships[NodeRelationship.SOURCE]
    assert first.node.ref_doc_id == second.node.ref_doc_id == source.node_id
    assert source.node_id == first.node.metadata["document_id"]
    assert source.metadata["file_name"] == MANUAL
    again = ImageNode.from_json(first.node.to_json())
    assert again == first.node


def test_a_model_is_told_the_page_and_not_the_bulk(demo_index: Index):
    [best] = DocragRetriever(demo_index, k=1).retrieve(FERRY_QUESTION.text)
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        told = best.node.get_content(mode)
        assert best.node.text in told
        assert f"file_name: {FERRY_QUESTION.file}" in told
        assert "page_label: " in told
        assert not [
            word for word in ("regions", "box", "scores", "/", best.node.node_id) if f"{word}:" in told
        ]
        assert best.node.image_path not in told


async def test_async_and_batched_questions_give_the_same(demo_index: Index):
    retriever = DocragRetriever(demo_index, k=3)
    assert await retriever.aretrieve(FERRY_QUESTION.text) == retriever.retrieve(FERRY_QUESTION.text)


def test_mode_and_threshold(demo_index: Index):
    [text] = DocragRetriever(demo_index, k=1, mode="text").retrieve("catering revenue")
    assert set(text.metadata["scores"]) == {"text"}
    every = DocragRetriever(demo_index, k=5, mode="text").retrieve("catering revenue")
    some = DocragRetriever(demo_index, k=5, mode="text", score_threshold=every[1].score).retrieve(
        "catering revenue"
    )
    assert [node.node_id for node in some] == [node.node_id for node in every[:2]]


def meta(key: str, value: Any, operator: FilterOperator = FilterOperator.EQ) -> MetadataFilter:
    return MetadataFilter(key=key, value=value, operator=operator)


def both(*filters: Any, condition: str = "and") -> MetadataFilters:
    return MetadataFilters(filters=list(filters), condition=condition)


ANNUAL = FERRY_QUESTION.file
OP = FilterOperator
FILTERS: dict[str, tuple[Any, Callable[[dict[str, Any]], bool]]] = {
    "mapping": (
        {"file_name": MANUAL, "page_number": 4},
        lambda m: m["page_number"] == 4 and m["file_name"] == MANUAL,
    ),
    "list": ({"page": [1, 2]}, lambda m: m["page_number"] < 3),
    "equal": (both(meta("file_name", MANUAL)), lambda m: m["file_name"] == MANUAL),
    "not equal": (both(meta("file_name", MANUAL, OP.NE)), lambda m: m["file_name"] != MANUAL),
    "in": (both(meta("file_name", [MANUAL, ANNUAL], OP.IN)), lambda m: m["file_name"] in (MANUAL, ANNUAL)),
    "not in": (both(meta("page_number", [1, 2], OP.NIN)), lambda m: m["page_number"] > 2),
    "greater": (both(meta("page_number", 3, OP.GT)), lambda m: m["page_number"] > 3),
    "up to": (
        both(meta("page_number", 3, OP.LTE), meta("page_number", 2, OP.GTE)),
        lambda m: m["page_number"] in (2, 3),
    ),
    "less": (both(meta("total_pages", 4, OP.LT)), lambda m: m["total_pages"] < 4),
    "or": (
        both(
            meta("file_name", MANUAL), both(meta("file_name", ANNUAL), meta("page_number", 1)), condition="or"
        ),
        lambda m: m["file_name"] == MANUAL or (m["file_name"] == ANNUAL and m["page_number"] == 1),
    ),
    "none of": (
        both(meta("file_name", MANUAL), meta("page_number", 1), condition="not"),
        lambda m: m["file_name"] != MANUAL and m["page_number"] != 1,
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters(demo_index: Index, name: str):
    wanted, holds = FILTERS[name]
    every = found(DocragRetriever(demo_index, k=1000, mode="cosine").retrieve("ferry"))
    nodes = DocragRetriever(demo_index, k=1000, mode="cosine", filter=wanted).retrieve("ferry")
    expected = [
        node
        for node in DocragRetriever(demo_index, k=1000, mode="cosine").retrieve("ferry")
        if holds(node.metadata)
    ]
    assert sorted(found(nodes)) == sorted(found(expected))
    assert 0 < len(nodes) < len(every)


def test_a_path_seen_in_a_node_is_a_filter(demo_index: Index):
    path = DocragRetriever(demo_index, k=1).retrieve(PURIFIER_QUESTION.text)[0].metadata["file_path"]
    nodes = DocragRetriever(demo_index, k=9, filter=both(meta("file_path", path))).retrieve("lamp")
    assert {node.metadata["file_path"] for node in nodes} == {path}


def test_no_filter_at_all_is_none(demo_index: Index):
    assert len(DocragRetriever(demo_index, k=3, filter=MetadataFilters(filters=[])).retrieve("ferry")) == 3


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"k": 0}, "k = 0"),
        ({"mode": "psychic"}, "psychic"),
        ({"filter": both(meta("title", "ferry", OP.TEXT_MATCH))}, "text_match"),
        ({"filter": both(meta("title", None, OP.IS_EMPTY))}, "is_empty"),
        ({"filter": both(meta("sources", "a", OP.CONTAINS))}, "contains"),
        ({"filter": both(meta("title", "a", OP.IN))}, "no list"),
        ({"filter": both(meta("title", [], OP.IN))}, "no values"),
        ({"filter": both(meta("title", "2023-01-01", OP.GT))}, "no number"),
        ({"filter": both(both())}, "without conditions"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_answered_is_refused_when_it_is_made(demo_index: Index, options, why):
    with pytest.raises(QueryError, match=why) as caught:
        DocragRetriever(demo_index, **options)
    assert caught.value.hint


def test_an_empty_question_is_refused(demo_index: Index):
    with pytest.raises(QueryError, match="empty"):
        DocragRetriever(demo_index).retrieve(" ")


@pytest.fixture(scope="module")
def pictures(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Callable[[str], str]
) -> Iterator[DocragRetriever]:
    """Three pictures in an index with a CLIP of random weights."""
    root = tmp_path_factory.mktemp("pictures")
    (root / "images").mkdir()
    for number in range(3):
        make_image(number).save(root / "images" / f"{number}.png")
    with Index.open(root / "index", image=checkpoint("clip")) as index:
        index.ingest(root / "images")
        yield DocragRetriever(index, k=1, mode="cosine")


async def test_an_image_asks_for_what_looks_like_it(pictures: DocragRetriever):
    for file in sorted(Path(pictures.index.documents()[0].file).parent.glob("*.png")):
        query = QueryBundle(query_str="", image_path=str(file))
        for nodes in (pictures.retrieve(query), await pictures.aretrieve(query)):
            assert found(nodes) == [(file.name, 1)]


def test_an_image_is_refused_where_nothing_sees(demo_index: Index, pictures: DocragRetriever):
    file = pictures.index.documents()[0].file
    with pytest.raises(QueryError, match="no encoder that takes an image"):
        DocragRetriever(demo_index).retrieve(QueryBundle("ferry", image_path=file))
    with pytest.raises(QueryError, match="does not exist"):
        pictures.retrieve(QueryBundle("", image_path="/no/such.png"))


@pytest.mark.parametrize("mode", [ResponseMode.COMPACT, ResponseMode.TREE_SUMMARIZE])
async def test_a_query_engine_is_given_the_text(demo_index: Index, mode: ResponseMode):
    model = Recorder(max_tokens=256)
    engine = RetrieverQueryEngine.from_args(DocragRetriever(demo_index, k=2), llm=model, response_mode=mode)
    answers = [engine.query(FERRY_QUESTION.text), await engine.aquery(FERRY_QUESTION.text)]
    assert [str(answer) for answer in answers] == ["42", "42"]
    assert found(answers[0].source_nodes)[0] == (ANNUAL, FERRY_QUESTION.page)
    assert len(model._prompts) == 2
    for prompt in model._prompts:
        assert FERRY_QUESTION.text in prompt
        assert answers[0].source_nodes[0].text.split("\n")[0] in prompt
        assert "box" not in prompt


async def test_a_model_that_sees_is_given_the_page(demo_index: Index):
    model = Recorder(is_chat_model=True, max_tokens=256)
    engine = RetrieverQueryEngine.from_args(DocragRetriever(demo_index, k=1), llm=model, multimodal=True)
    answers = [engine.query(PURIFIER_QUESTION.text), await engine.aquery(PURIFIER_QUESTION.text)]
    assert [str(answer) for answer in answers] == ["42", "42"]
    page = demo_index.page(answers[0].source_nodes[0].node_id)
    assert (Path(page.file).name, page.page) == (MANUAL, PURIFIER_QUESTION.page)
    assert len(model._messages) == 2
    for messages in model._messages:
        blocks = [block for message in messages for block in message.blocks]
        [image] = [block for block in blocks if isinstance(block, ImageBlock)]
        kind, seen = str(image.url).split(",")  # the bytes, not the address, where nothing need be served
        assert kind == "data:image/jpeg;base64"
        assert base64.b64decode(seen) == page.image_path.read_bytes()
        assert PURIFIER_QUESTION.text in "".join(one.text for one in blocks if isinstance(one, TextBlock))


def test_a_page_without_its_image_is_text(demo_index: Index, tmp_path: Path):
    [hit] = demo_index.search("ferry", k=1)
    gone = replace(hit, image_path=tmp_path / "gone.jpg")
    served = page_node(gone).node
    assert isinstance(served, ImageNode)
    assert (served.image_path, served.image_url) == (None, hit.image_url)
    unserved = page_node(replace(gone, image_url="")).node
    assert type(unserved) is TextNode
    assert unserved.get_content_blocks()[0].text == hit.text


class Heard(BaseEventHandler):
    _events: list[str] = PrivateAttr(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "Heard"

    def handle(self, event: Any, **_: Any) -> None:
        self._events.append(type(event).__name__)


def test_callbacks_and_instrumentation_hear_of_it(demo_index: Index):
    debug, heard = LlamaDebugHandler(print_trace_on_end=False), Heard()
    root = get_dispatcher()
    root.add_event_handler(heard)
    try:
        nodes = DocragRetriever(demo_index, k=2, callback_manager=CallbackManager([debug])).retrieve("ferry")
    finally:
        root.event_handlers.remove(heard)
    assert heard._events == ["RetrievalStartEvent", "RetrievalEndEvent"]
    [(start, end)] = debug.get_event_pairs(CBEventType.RETRIEVE)
    assert start.payload["query_str"] == "ferry"
    assert end.payload["nodes"] == nodes


def test_a_folder_is_ingested_and_an_index_opened(tmp_path: Path):
    write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY)
    write_pdf(tmp_path / "docs" / "apple.pdf", APPLE)
    (tmp_path / "docs" / "broken.pdf").write_bytes(b"%PDF-1.7 no")
    with pytest.warns(UserWarning, match=r"broken\.pdf"):
        retriever = DocragRetriever.from_folder(tmp_path / "docs", index=tmp_path / "index", k=1)
    with retriever:
        assert found(retriever.retrieve("When does the ferry leave?")) == [("ferry.pdf", 1)]
        with pytest.raises(IndexInUse):
            DocragRetriever.from_index(tmp_path / "index")
    with DocragRetriever.from_index(tmp_path / "index", k=1) as retriever:
        assert found(retriever.retrieve("storing apples")) == [("apple.pdf", 1)]


def test_an_index_that_was_given_stays_open(demo_index: Index):
    with DocragRetriever(demo_index, k=1) as retriever:
        assert len(retriever.retrieve("ferry")) == 1
    assert len(retriever.retrieve("ferry")) == 1


def test_what_cannot_be_opened_is_told_and_let_go(tmp_path: Path):
    with pytest.raises(IndexNotFound):
        DocragRetriever.from_index(tmp_path / "none")
    with pytest.raises(NotFound):
        DocragRetriever.from_folder(tmp_path / "none", index=tmp_path / "index")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DocumentError, match="no page"):
        DocragRetriever.from_folder(tmp_path / "empty", index=tmp_path / "index")
    with pytest.raises(QueryError):
        DocragRetriever.from_index(tmp_path / "index", k=0)
    Index.open(tmp_path / "index").close()  # nobody holds it


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_llama_index_it_says_what_to_install():
    code = (
        "import sys\n"
        "sys.modules['llama_index'] = None\n"
        "try:\n    import llama_index_docrag\n"
        "except ModuleNotFoundError as error:\n    print(error, '|', error.name)"
    )
    printed = run(code)
    assert "pip install 'docrag-qdrant[llama-index]'" in printed


def test_importing_it_loads_no_model_and_asks_nobody():
    code = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('the network was asked')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import llama_index_docrag\n"
        "from llama_index.core.utils import get_tokenizer\n"
        "assert get_tokenizer()('a page')\n"
        "print({'torch', 'transformers', 'pymupdf', 'qdrant_client', 'qdrant_edge'} & set(sys.modules))"
    )
    assert run(code) == "set()"
