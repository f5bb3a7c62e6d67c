from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # before haystack is imported

import pymupdf
from haystack import Document, Pipeline, component
from haystack.components.builders import ChatPromptBuilder
from haystack.components.converters.image import DocumentToImageContent
from haystack.core.errors import DeserializationError
from haystack.dataclasses import ChatMessage, ImageContent
from haystack.document_stores.types import FilterPolicy
from haystack.utils import Secret
from haystack.utils.filters import document_matches_filter
from haystack_docrag import DocragRetriever
from haystack_docrag.documents import hit_document
from PIL import Image

from docrag import Index
from docrag.demo import QUESTIONS, documents
from docrag.errors import IndexInUse, IndexNotFound, QueryError, ServerRefused
from docrag.types import is_page_id
from tests.samples import make_image
from tests.store.fake_qdrant import FakeQdrant

FERRY, _, PURIFIER = QUESTIONS
MANUAL, ANNUAL = PURIFIER.file, FERRY.file
TEMPLATE = """
{% message role="user" %}
Answer from these pages: {{ question }}
{% for document in documents %}{{ document.meta.file_name }}, page {{ document.meta.page_label }}
{% endfor %}{% for image in images %}{{ image | templatize_part }}{% endfor %}
{% endmessage %}
"""


@component
class Recorder:
    """Stands in for a chat generator: answers "42" and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[ChatMessage]] = []

    @component.output_types(replies=list[ChatMessage])
    def run(self, messages: list[ChatMessage]) -> dict[str, Any]:
        self.asked.append(messages)
        return {"replies": [ChatMessage.from_assistant("42")]}

    @component.output_types(replies=list[ChatMessage])
    async def run_async(self, messages: list[ChatMessage]) -> dict[str, Any]:
        return self.run(messages)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The demo documents and a photograph, ingested, and nobody holds the index."""
    root = tmp_path_factory.mktemp("haystack")
    make_image(1).save(root / "photo.png")
    with Index.open(root / "index") as opened:
        assert not opened.ingest([documents(), root / "photo.png"]).failures
    return str(root / "index")


@pytest.fixture
def retriever(index: str) -> Iterator[DocragRetriever]:
    retriever = DocragRetriever(index, top_k=3)
    yield retriever
    retriever.close()


def found(documents: list[Document]) -> list[tuple[str, int]]:
    return [(document.meta["file_name"], document.meta["page_number"]) for document in documents]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.file)
def test_the_page_comes_as_a_document(retriever: DocragRetriever, question):
    [best, *others] = retriever.run(question.text)["documents"]
    assert found([best]) == [(question.file, question.page)]
    assert is_page_id(best.id)
    assert best.score >= others[0].score >= others[1].score
    assert len(best.content) > 50
    assert Path(best.meta["file_path"]).is_file()
    assert Path(best.meta["image_path"]).suffix == ".jpg"
    box = best.meta["regions"][0]["box"]
    assert 0 <= box[0] < box[2] <= 1
    assert set(best.meta["scores"]) <= {"late", "cosine", "text"}
    assert Document.from_dict(best.to_dict()) == best


async def test_async_gives_the_same(retriever: DocragRetriever):
    asked = [retriever.run_async(FERRY.text) for _ in range(2)]
    for answer in await asyncio.gather(*asked):
        assert answer == retriever.run(FERRY.text)


def test_a_run_may_ask_otherwise(retriever: DocragRetriever):
    [one] = retriever.run("catering revenue", top_k=1, mode="text")["documents"]
    assert set(one.meta["scores"]) == {"text"}
    every = retriever.run("catering revenue", top_k=9, mode="text")["documents"]
    retriever.score_threshold = every[1].score
    assert [one.id for one in retriever.run("catering revenue", mode="text")["documents"]] == [
        one.id for one in every[:2]
    ]


@pytest.mark.parametrize("size", [None, (300, 300)])
def test_documents_become_images_of_their_page(retriever: DocragRetriever, size):
    question = "Which switch resets the purifier?"
    pages = retriever.run(question, top_k=2, filters=is_("meta.file_name", "==", MANUAL))
    photo = retriever.run("photo", top_k=1, filters=is_("meta.file_name", "==", "photo.png"))
    given = pages["documents"] + photo["documents"]
    assert len(given) == 3
    images = DocumentToImageContent(size=size).run(given)["image_contents"]
    assert [image.mime_type for image in images] == ["image/jpeg", "image/jpeg", "image/png"]
    for document, image in zip(given, images, strict=True):
        with Image.open(BytesIO(base64.b64decode(image.base64_image))) as seen:
            assert size is None or max(seen.size) <= 300
            shape = seen.width / seen.height
        assert image.meta["file_path"] == document.meta["file_path"]
        with pymupdf.open(document.meta["file_path"]) as file:
            page = file[document.meta["page_number"] - 1].rect
        assert shape == pytest.approx(page.width / page.height, rel=0.01)


def test_docrags_own_page_images_serve_too(retriever: DocragRetriever):
    given = retriever.run(FERRY.text)["documents"]
    images = DocumentToImageContent(file_path_meta_field="image_path").run(given)["image_contents"]
    for document, image in zip(given, images, strict=True):
        assert base64.b64decode(image.base64_image) == Path(document.meta["image_path"]).read_bytes()


def test_a_relative_path_is_found_from_where_it_was_ingested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
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
    [image] = DocumentToImageContent(root_path=str(tmp_path)).run([document])["image_contents"]
    assert base64.b64decode(image.base64_image) == (tmp_path / "pictures" / "harbour.png").read_bytes()


def test_a_page_without_its_image_says_so(demo_index: Index, tmp_path: Path):
    [hit] = demo_index.search("ferry", k=1)
    assert hit_document(replace(hit, image_path=tmp_path / "gone.jpg")).meta["image_path"] is None


def pipeline(index: str) -> Pipeline:
    made = Pipeline()
    made.add_component("retriever", DocragRetriever(index, top_k=2))
    made.add_component("images", DocumentToImageContent(detail="high", size=(600, 600)))
    made.add_component("prompt", ChatPromptBuilder(template=TEMPLATE, required_variables="*"))
    made.add_component("model", Recorder())
    made.connect("retriever.documents", "images.documents")
    made.connect("retriever.documents", "prompt.documents")
    made.connect("images.image_contents", "prompt.images")
    made.connect("prompt.prompt", "model.messages")
    return made


async def test_a_pipeline_shows_the_pages_to_a_model(index: str):
    made = pipeline(index)
    data = {"retriever": {"query": PURIFIER.text}, "prompt": {"question": PURIFIER.text}}
    try:
        answers = [made.run(data), await made.run_async(data)]
    finally:
        made.close()
    assert [answer["model"]["replies"][0].text for answer in answers] == ["42", "42"]
    asked = made.get_component("model").asked
    assert len(asked) == 2
    for [message] in asked:
        assert PURIFIER.text in message.text
        assert f"{MANUAL}, page {PURIFIER.page}" in message.text
        best, other = message.images
        assert isinstance(best, ImageContent)
        assert (best.meta["page_number"], best.detail) == (PURIFIER.page, "high")
        with Image.open(BytesIO(base64.b64decode(best.base64_image))) as page:
            assert max(page.size) == 600
        assert other.meta != best.meta
    Index.open(index, create=False).close()  # the pipeline let it go


def test_a_pipeline_is_written_and_read(index: str, monkeypatch: pytest.MonkeyPatch):
    wanted = {"field": "meta.file_name", "operator": "==", "value": MANUAL}
    made = Pipeline()
    made.add_component(
        "retriever",
        DocragRetriever(
            index,
            top_k=4,
            mode="late",
            filters=wanted,
            filter_policy=FilterPolicy.MERGE,
            score_threshold=0.1,
            api_key=Secret.from_env_var("MY_QDRANT_KEY", strict=False),
        ),
    )
    monkeypatch.setenv("MY_QDRANT_KEY", "never-written-down")
    written = made.dumps()
    assert "never-written-down" not in written
    assert "MY_QDRANT_KEY" in written
    read = Pipeline.loads(written, allowed_modules=["haystack_docrag"])
    assert read.dumps() == written
    again = read.get_component("retriever")
    assert again.filter_policy is FilterPolicy.MERGE
    assert again.api_key.resolve_value() == "never-written-down"
    try:
        answer = read.run({"retriever": {"query": "lamp"}})
    finally:
        read.close()
    assert {file for file, _ in found(answer["retriever"]["documents"])} == {MANUAL}


def test_haystack_asks_before_it_loads_other_packages(index: str):
    made = Pipeline()
    made.add_component("retriever", DocragRetriever(index))
    with pytest.raises(DeserializationError, match="haystack_docrag"):
        Pipeline.loads(made.dumps())


def test_a_key_as_text_is_never_written(index: str):
    with pytest.raises(ValueError, match="token"):
        DocragRetriever(index, api_key=Secret.from_token("secret")).to_dict()


def test_a_plain_dictionary_makes_one():
    made = DocragRetriever()
    assert DocragRetriever.from_dict(made.to_dict()).to_dict() == made.to_dict()


def test_the_key_reaches_the_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("DOCRAG_FILES", str(tmp_path))
    monkeypatch.setenv("MY_QDRANT_KEY", "a-key")
    with FakeQdrant(key="a-key") as server:
        retriever = DocragRetriever(server.uri, api_key=Secret.from_env_var("MY_QDRANT_KEY"))
        with pytest.raises(IndexNotFound):
            retriever.warm_up()
        with pytest.raises(ServerRefused):
            DocragRetriever(server.uri, api_key=None).warm_up()


def is_(field: str, operator: str, value: Any) -> dict[str, Any]:
    return {"field": field, "operator": operator, "value": value}


def group(operator: str, *conditions: dict[str, Any]) -> dict[str, Any]:
    return {"operator": operator, "conditions": list(conditions)}


FILTERS: dict[str, dict[str, Any]] = {
    "equal": is_("meta.file_name", "==", MANUAL),
    "without meta": is_("file_name", "==", MANUAL),
    "not equal": is_("meta.file_name", "!=", MANUAL),
    "in": is_("meta.page_number", "in", [1, 3]),
    "not in": is_("meta.file_name", "not in", [MANUAL, ANNUAL]),
    "greater": is_("meta.page_number", ">", 3),
    "at least": is_("meta.page_number", ">=", 3),
    "less": is_("meta.total_pages", "<", 4),
    "at most": is_("meta.page_number", "<=", 1),
    "and": group("AND", is_("meta.page_number", ">", 1), is_("meta.file_name", "==", MANUAL)),
    "or": group("OR", is_("meta.page_number", ">", 3), is_("meta.file_name", "==", MANUAL)),
    "not": group("NOT", is_("meta.page_number", "==", 1), is_("meta.file_name", "==", MANUAL)),
    "nested": group(
        "OR",
        group("AND", is_("meta.page_number", "==", 1), is_("meta.file_name", "==", MANUAL)),
        group("NOT", is_("meta.total_pages", ">", 1)),
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters_select_what_haystacks_own_would(retriever: DocragRetriever, name: str):
    every = retriever.run("ferry", top_k=1000, mode="cosine")["documents"]
    some = retriever.run("ferry", top_k=1000, mode="cosine", filters=FILTERS[name])["documents"]
    expected = [document for document in every if document_matches_filter(FILTERS[name], document)]
    assert sorted(found(some)) == sorted(found(expected))
    assert 0 < len(some) < len(every)


def test_filters_of_a_run_replace_or_join_those_of_the_component(index: str):
    retriever = DocragRetriever(index, filters=is_("meta.file_name", "==", MANUAL))
    first = is_("meta.page_number", "==", 1)
    try:
        replaced = retriever.run("ferry", filters=first)["documents"]
        retriever.filter_policy = FilterPolicy.MERGE
        assert found(retriever.run("ferry", filters=first)["documents"]) == [(MANUAL, 1)]
    finally:
        retriever.close()
    assert len({file for file, _ in found(replaced)}) > 1


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"top_k": 0}, "top_k = 0"),
        ({"mode": "psychic"}, "psychic"),
        ({"filters": is_("meta.title", "like", "x")}, "like"),
        ({"filters": group("XOR", is_("meta.title", "==", "x"))}, "XOR"),
        ({"filters": is_("content", "==", "x")}, "document's content"),
        ({"filters": is_("meta.title", "in", "x")}, "no list"),
        ({"filters": is_("meta.title", "in", [])}, "no values"),
        ({"filters": is_("meta.title", "==", None)}, "neither text nor a number"),
        ({"filters": is_("meta.title", ">", "2023-01-01")}, "no number"),
        ({"filters": group("AND")}, "without conditions"),
        ({"filters": {"file_name": "a.pdf"}}, "a group has conditions, operator"),
        ({"filters": {"field": "meta.title", "value": "x"}}, "a comparison has"),
        ({"filters": group("AND", "title")}, "is not a filter"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_answered_is_refused_when_it_is_made(options, why):
    with pytest.raises(QueryError, match=why) as caught:
        DocragRetriever("nowhere", **options)
    assert caught.value.hint


def test_a_run_refuses_the_same(retriever: DocragRetriever):
    with pytest.raises(QueryError, match="top_k = 0"):
        retriever.run("ferry", top_k=0)
    with pytest.raises(QueryError, match="empty"):
        retriever.run(" ")


def test_the_index_is_opened_once_and_let_go(index: str, tmp_path: Path):
    retriever = DocragRetriever(index)
    Index.open(index, create=False).close()  # making it opened nothing
    retriever.warm_up()
    opened = retriever._opened
    retriever.warm_up()
    retriever.run("ferry")
    assert retriever._opened is opened
    with pytest.raises(IndexInUse):
        DocragRetriever(index).warm_up()
    retriever.close()
    retriever.close()
    assert retriever.run("ferry", top_k=1)["documents"]
    retriever.close()
    with pytest.raises(IndexNotFound):
        DocragRetriever(tmp_path / "none").warm_up()


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_haystack_it_says_what_to_install():
    code = (
        "import sys\n"
        "sys.modules['haystack'] = None\n"
        "try:\n    import haystack_docrag\n"
        "except ModuleNotFoundError as error:\n    print(error)"
    )
    assert "pip install 'docrag-qdrant[haystack]'" in run(code)


NO_NETWORK = (
    "import socket, sys\n"
    "def refuse(*_): raise AssertionError('the network was asked')\n"
    "socket.socket.connect = socket.getaddrinfo = refuse\n"
)


def test_importing_it_loads_no_model_and_asks_nobody(tmp_path: Path):
    code = NO_NETWORK + (
        "import haystack\n"
        "before = set(sys.modules)  # Haystack itself imports torch where that is installed\n"
        "import haystack_docrag\n"
        "loaded = set(sys.modules) - before\n"
        "print({'torch', 'transformers', 'pymupdf', 'qdrant_client', 'qdrant_edge'} & loaded)"
    )
    assert run(code, HOME=str(tmp_path)) == "set()"


def test_a_run_tells_nobody_where_telemetry_is_off(index: str, tmp_path: Path):
    code = NO_NETWORK + (
        "from haystack import Pipeline\n"
        "from haystack.telemetry import _telemetry\n"
        "from haystack_docrag import DocragRetriever\n"
        "pipeline = Pipeline()\n"
        f"pipeline.add_component('retriever', DocragRetriever({index!r}, top_k=1))\n"
        "[page] = pipeline.run({'retriever': {'query': 'ferry'}})['retriever']['documents']\n"
        "print(_telemetry.telemetry, bool(page.content))\n"
    )
    assert run(code, HOME=str(tmp_path)) == "None True"
    assert not (tmp_path / ".haystack").exists()
