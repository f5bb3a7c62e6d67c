"""DocragEmbeddings: the suites of langchain-tests, and what they do not test."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from langchain_docrag import DocragEmbeddings
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from docrag import page_encoder, text_encoder
from docrag.errors import QueryError, UnknownModel
from tests.samples import make_image


class TestMiniLMUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return DocragEmbeddings


class TestMiniLM(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return DocragEmbeddings


class TinyClip:
    """The parameters of a tiny random checkpoint of CLIP."""

    @pytest.fixture(autouse=True)
    def _tiny(self, checkpoint) -> None:
        self.name = checkpoint("clip")

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return DocragEmbeddings

    @property
    def embedding_model_params(self) -> dict:
        return {"model": self.name}


class TestClipUnit(TinyClip, EmbeddingsUnitTests):
    pass


class TestClip(TinyClip, EmbeddingsIntegrationTests):
    pass


@pytest.fixture(scope="module")
def minilm() -> DocragEmbeddings:
    return DocragEmbeddings()


@pytest.fixture(scope="module")
def clip(checkpoint) -> DocragEmbeddings:
    return DocragEmbeddings(checkpoint("clip"))


def test_minilm_gives_the_vectors_that_docrag_stores_for_captions(minilm):
    texts = ["The ferry leaves at nine.", "A pendulum swings.", ""]
    encoder = text_encoder("minilm")
    assert np.array_equal(np.array(minilm.embed_documents(texts), np.float32), encoder.encode_passages(texts))
    assert np.array_equal(
        np.array(minilm.embed_query(texts[0]), np.float32), encoder.encode_queries(texts[:1])[0]
    )


def test_minilm_ranks_by_meaning_with_vectors_of_length_one(minilm):
    rows = np.array(minilm.embed_documents(["A pendulum swings.", "The ferry leaves at nine."]))
    assert rows.shape == (2, 384)
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 1], abs=1e-5)
    cosines = rows @ np.array(minilm.embed_query("When does the boat go?"))
    assert cosines[1] > cosines[0] + 0.2


def test_empty_lists_give_empty_lists(minilm, clip):
    assert minilm.embed_documents([]) == clip.embed_documents([]) == clip.embed_image([]) == []


def test_lone_surrogates_are_embedded_like_unknown_characters(minilm):
    invalid, replaced = minilm.embed_documents(["tide \ud83d gauge", "tide ? gauge"])
    assert invalid == replaced


async def test_many_coroutines_give_the_same_as_one_call(minilm):
    texts = [f"text number {number}" for number in range(8)]
    one_by_one = await asyncio.gather(*(minilm.aembed_documents([text]) for text in texts))
    assert np.array([rows[0] for rows in one_by_one]) == pytest.approx(
        np.array(minilm.embed_documents(texts)), abs=1e-5
    )


async def test_texts_and_images_are_in_one_space(clip, checkpoint, tmp_path):
    picture = make_image(1)
    picture.save(tmp_path / "picture.png")
    from_file, from_memory = clip.embed_image([str(tmp_path / "picture.png"), picture])
    [text] = clip.embed_documents(["a scan"])
    assert len(text) == len(from_file) == clip.spec.dim
    assert from_file == pytest.approx(from_memory, abs=1e-6)
    assert clip.embed_query("a scan") == pytest.approx(text, abs=1e-6)
    expected = page_encoder(checkpoint("clip")).encode([picture, "a scan"])
    assert np.array([from_memory, text]) == pytest.approx(expected, abs=1e-6)
    [again] = await clip.aembed_image([picture])
    assert again == pytest.approx(from_memory, abs=1e-6)


def test_many_images_keep_their_order(clip):
    pictures = [make_image(seed, 40, 40) for seed in range(35)]
    vectors = clip.embed_image(pictures)
    assert len(vectors) == 35
    assert vectors[33] == pytest.approx(clip.embed_image([pictures[33]])[0], abs=1e-5)


def test_a_text_model_takes_no_images(minilm):
    with pytest.raises(QueryError, match=r"minilm takes texts only.*clip-vit-b-32"):
        minilm.embed_image([make_image(1)])


def test_the_error_names_a_missing_image(clip, tmp_path):
    with pytest.raises(QueryError, match=r"missing\.png"):
        clip.embed_image([tmp_path / "missing.png"])


def test_a_late_interaction_model_is_refused(checkpoint):
    with pytest.raises(UnknownModel, match=r"a vector for every patch or word.*DocragRetriever"):
        DocragEmbeddings(checkpoint("colpali"))


def test_an_unknown_name_is_refused_with_the_known_names():
    with pytest.raises(UnknownModel, match="minilm"):
        DocragEmbeddings("no-such-model")


def test_an_open_encoder_is_used_as_it_is():
    encoder = text_encoder("minilm")
    assert DocragEmbeddings(encoder).embed_query("tide") == DocragEmbeddings().embed_query("tide")
    assert repr(DocragEmbeddings()) == "DocragEmbeddings('minilm')"
