"""Where DocragVectorStore keeps its texts: directories, servers, and the embeddings that open them."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_docrag import DocragEmbeddings, DocragVectorStore, text_backend
from langchain_docrag.text_backend import TextBackend
from qdrant_client import QdrantClient

from docrag import Index, Settings
from docrag.errors import IndexInUse, IndexMismatch, ModelUnavailable, SettingsError, StoreError
from docrag.location.server import ServerLocation
from docrag.operations.transfer import export_index
from docrag.store.local.store import EdgeStore
from tests.integrations.langchain import vectorstores
from tests.integrations.langchain.vectorstores import FAKE, contents
from tests.processes import Holder
from tests.samples import make_image
from tests.store.fake_qdrant import FakeQdrant
from tests.store.local_mode import local_connection

reopen, store = vectorstores.reopen, vectorstores.store


def test_a_closed_store_says_so(reopen):
    store = reopen()
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        store.add_texts(["foo"])
    with reopen() as store:
        store.add_texts(["foo"])
    store.close()
    for call in (lambda: store.similarity_search("foo"), lambda: store.get_by_ids(["1"]), store.delete):
        with pytest.raises(StoreError, match="is closed"):
            call()


def test_a_temporary_store_is_deleted_when_it_is_closed():
    with DocragVectorStore.from_texts(["foo"], FAKE, [{"n": 1}], ids=["1"]) as store:
        folder = Path(store.uri)
        assert (folder / "points").is_dir()
        assert store.get_by_ids(["1"])[0].metadata == {"n": 1}
    assert not folder.exists()


async def test_from_documents_adds_to_the_store(tmp_path):
    documents = [Document(id="a", page_content="foo"), Document(page_content="bar", metadata={"n": 1})]
    with DocragVectorStore.from_documents(documents, FAKE, uri=tmp_path / "texts") as store:
        assert contents(store) == ["bar", "foo"]
    with await DocragVectorStore.afrom_documents(documents[:1], FAKE, uri=tmp_path / "texts") as store:
        assert contents(store) == ["bar", "foo"]  # "a" was there already


def test_a_store_that_cannot_be_filled_is_closed(tmp_path):
    with pytest.raises(SettingsError, match="1 texts and 2 ids"):
        DocragVectorStore.from_texts(["foo"], FAKE, uri=tmp_path / "texts", ids=["1", "2"])
    with DocragVectorStore(tmp_path / "texts", FAKE) as store:
        assert store.add_texts(["foo"], ids=["1"]) == ["1"]


def test_minilm_is_the_default_and_is_opened_again(tmp_path):
    notes = ["The ferry leaves at nine.", "A pendulum swings."]
    with DocragVectorStore.from_texts(notes, uri=tmp_path / "texts") as store:
        pass
    with DocragVectorStore(tmp_path / "texts") as store:
        assert isinstance(store.embeddings, DocragEmbeddings)
        assert store.similarity_search("When does the boat go?", k=1)[0].page_content == notes[0]


def test_images_are_compared_with_texts_by_clip(checkpoint, tmp_path):
    embedding = DocragEmbeddings(checkpoint("clip"))
    with DocragVectorStore.from_texts(["a scan", "a table"], embedding, uri=tmp_path / "texts") as store:
        [image] = embedding.embed_image([make_image(1)])
        assert len(store.similarity_search_by_vector(image, k=2)) == 2
    with DocragVectorStore(tmp_path / "texts") as store:  # opens the model by itself
        assert store.similarity_search("a table", k=1)[0].page_content == "a table"


def test_weights_that_were_moved_are_given_by_their_new_path(checkpoint, tmp_path):
    shutil.copytree(checkpoint("clip"), tmp_path / "clip")
    first = DocragEmbeddings(str(tmp_path / "clip"))
    with DocragVectorStore.from_texts(["foo"], first, uri=tmp_path / "texts"):
        pass
    (tmp_path / "clip").rename(tmp_path / "moved")
    with pytest.raises(
        ModelUnavailable, match=r"the texts were embedded by .*clip.*DocragEmbeddings\(PATH\)"
    ):
        DocragVectorStore(tmp_path / "texts")
    with DocragVectorStore(tmp_path / "texts", DocragEmbeddings(str(tmp_path / "moved"))) as store:
        assert contents(store) == ["foo"]


def test_other_embeddings_are_refused_by_name(reopen, tmp_path):
    with reopen() as store:
        store.add_texts(["foo"])
        uri = store.uri
    settings = Settings(files=str(tmp_path / "files"))
    with pytest.raises(IndexMismatch, match=r"DeterministicFakeEmbedding.*minilm"):
        DocragVectorStore(uri, DocragEmbeddings(), settings=settings)
    with pytest.raises(IndexMismatch, match=r"embedded by DeterministicFakeEmbedding.*pass it as embedding"):
        DocragVectorStore(uri, settings=settings)
    with reopen() as store:
        assert contents(store) == ["foo"]


class CachedEmbeddings(Embeddings):
    """Has the same attribute as LangChain's CacheBackedEmbeddings."""

    underlying_embeddings = FAKE

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.underlying_embeddings.embed_documents(texts)

    def embed_query(self, text: str) -> list[float]:
        return self.underlying_embeddings.embed_query(text)


def test_a_cache_around_the_embeddings_makes_no_difference(tmp_path):
    with DocragVectorStore.from_texts(["foo"], FAKE, uri=tmp_path / "texts"):
        pass
    with DocragVectorStore(tmp_path / "texts", CachedEmbeddings()) as store:
        assert store.similarity_search("foo", k=1)[0].page_content == "foo"


def test_stores_in_one_directory_see_what_the_others_write(tmp_path):
    with DocragVectorStore(tmp_path / "texts", FAKE) as early:
        assert contents(early) == []
        with DocragVectorStore(tmp_path / "texts", FAKE) as other:
            other.add_texts(["foo"], ids=["1"])
            assert contents(early) == ["foo"]
            early.add_texts(["bar"], ids=["1"])
            assert contents(other) == ["bar"]
        assert contents(early) == ["bar"]
    with DocragVectorStore(tmp_path / "texts", FAKE) as later:
        assert contents(later) == ["bar"]


def test_a_directory_that_another_process_holds_alone(tmp_path):
    """Both open it in their own process (DOCRAG_IN_PROCESS), so they cannot share it."""
    with DocragVectorStore.from_texts(["foo"], FAKE, uri=tmp_path / "texts"):
        pass
    with (
        Holder(tmp_path / "texts" / "points", tmp_path, "notes.py") as other,
        pytest.raises(IndexInUse, match=f"process {other.process.pid} "),
    ):
        DocragVectorStore(tmp_path / "texts", FAKE)


def test_a_store_on_a_server_sees_what_another_process_writes(tmp_path):
    with FakeQdrant() as server:
        settings = Settings(files=str(tmp_path / "files"))
        with DocragVectorStore(server.uri, FAKE, settings=settings) as early:
            assert contents(early) == []
            with DocragVectorStore(server.uri, FAKE, settings=settings) as other:
                other.add_texts(["foo"], ids=["1"])
            assert contents(early) == ["foo"]
            early.add_texts(["bar"], ids=["1"])
            assert contents(early) == ["bar"]


def _write_and_exit(folder: Path) -> None:
    store = DocragVectorStore(folder, FAKE)
    store.add_texts(["foo", "bar"], ids=["1", "2"])
    store.delete(["2"])
    os._exit(9)


@pytest.mark.slow
def test_texts_that_were_acknowledged_survive_a_killed_process(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=_write_and_exit, args=(tmp_path / "texts",))
    process.start()
    process.join()
    assert process.exitcode == 9
    with DocragVectorStore(tmp_path / "texts", FAKE) as store:
        assert contents(store) == ["foo"]


def test_a_store_is_optimized_after_many_texts_were_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(text_backend, "_OPTIMIZE_AFTER", 200)
    counts = []
    with DocragVectorStore(tmp_path / "texts", FAKE) as store:
        monkeypatch.setattr(EdgeStore, "optimize", lambda self: counts.append(self.count()))
        ids = [str(number) for number in range(120)]
        store.add_texts(ids)
        assert counts == []
        store.add_texts(ids, ids=ids)
        store.add_texts(ids, ids=ids)
        assert counts == [240]
    assert len(counts) == 1


@pytest.mark.filterwarnings("ignore:Payload indexes have no")
def test_langchain_qdrant_reads_the_same_collection(tmp_path):
    qdrant = pytest.importorskip("langchain_qdrant")
    client = QdrantClient(":memory:")
    location = ServerLocation(lambda: local_connection("notes", client), tmp_path / "files")
    backend = TextBackend(location, None, FAKE)
    store = DocragVectorStore.__new__(DocragVectorStore)
    store._backend = backend
    store.add_texts(["foo", "bar"], [{"n": 1}, {"n": 2}], ids=["1", "2"])
    langchain_store = qdrant.QdrantVectorStore(client, "notes", FAKE, vector_name="caption")
    [(document, score)] = langchain_store.similarity_search_with_score("bar", k=1)
    assert (document.page_content, document.metadata["n"], score) == ("bar", 2, pytest.approx(1, abs=1e-5))


def test_texts_cannot_be_opened_as_an_index_of_pages(tmp_path):
    with DocragVectorStore.from_texts(["foo"], uri=tmp_path / "texts"):
        pass
    message = "DocragVectorStore"
    with pytest.raises(IndexMismatch, match=message):
        Index.open(tmp_path / "texts")
    with pytest.raises(IndexMismatch, match=message):
        export_index(str(tmp_path / "texts"), tmp_path / "out")
    with DocragVectorStore(tmp_path / "texts") as store:
        assert contents(store) == ["foo"]


def test_arguments_in_the_wrong_order_are_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"not the address of a vector store.*embeddings are the second"):
        DocragVectorStore(FAKE)
    with pytest.raises(SettingsError, match="'minilm' is not LangChain embeddings"):
        DocragVectorStore(tmp_path / "texts", "minilm")
    with pytest.raises(SettingsError, match="ftp://host/texts"):
        DocragVectorStore("ftp://host/texts")


async def test_many_threads_and_coroutines_share_a_store(store):
    async def add(number: int) -> list[str]:
        ids = await store.aadd_texts([f"text {number}", f"other {number}"], ids=[str(number), f"o{number}"])
        [nearest] = await store.asimilarity_search(f"text {number}", k=1)
        assert nearest.page_content == f"text {number}"
        await store.adelete([f"o{number}"])
        return ids

    await asyncio.gather(*(add(number) for number in range(12)))
    assert contents(store) == sorted(f"text {number}" for number in range(12))


def test_a_directory_with_other_files_is_not_changed(tmp_path):
    (tmp_path / "letters.txt").write_text("dear")
    with DocragVectorStore(tmp_path, FAKE) as store, pytest.raises(StoreError, match=str(tmp_path)):
        store.add_texts(["foo"])
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]
