"""What is particular to minilm; what all encoders promise is in test_contract.py."""

from __future__ import annotations

import numpy as np
import pytest

from docrag.encode.checkpoints.torchvision import mend_torchvision
from docrag.encode.models.minilm import MiniLMPages, MiniLMText, equal_parts
from docrag.encode.models.minilm_model import weights_directory
from docrag.types import Page, Word
from tests.encode.maxsim import maxsim
from tests.samples import APPLE, CLOCK, FERRY, make_page


def placed(page: Page) -> tuple[np.ndarray, np.ndarray]:
    """The vectors that have a place on the page, and their boxes."""
    [encoded] = MiniLMPages().encode_pages([page])
    is_placed = ~np.isnan(encoded.boxes[:, 0])
    return encoded.vectors[is_placed], encoded.boxes[is_placed]


def test_text_vectors_are_those_of_sentence_transformers():
    mend_torchvision()
    from sentence_transformers import SentenceTransformer

    texts = [FERRY, APPLE * 30, "fiscal 2017"]
    expected = SentenceTransformer(str(weights_directory()), device="cpu").encode(
        texts, normalize_embeddings=True
    )
    ours = MiniLMText().encode_passages(texts)
    cosines = (ours * expected).sum(axis=1)
    assert (cosines[[0, 2]] > 0.999).all()
    assert cosines[1] > 0.99  # sentence-transformers counts [CLS] and [SEP] among its 256


def test_there_is_a_vector_for_each_word_that_carries_meaning():
    vectors, boxes = placed(make_page("The ferry, of the islands!"))
    assert len(vectors) == 2  # ferry, islands
    np.testing.assert_allclose(boxes[:, 0], [0.26, 0.74], atol=1e-6)


def test_words_of_several_pieces_have_one_vector():
    vectors, _ = placed(make_page("Pneumonoultramicroscopic escapement"))
    assert len(vectors) == 2


def test_the_title_is_among_the_vectors_without_a_place():
    encoder = MiniLMPages()
    untitled, titled = encoder.encode_pages([make_page(FERRY), make_page(FERRY, title="Harbour report")])
    assert len(titled.vectors) == len(untitled.vectors) + 2
    assert np.isnan(titled.boxes[:2]).all()


def test_the_right_page_scores_best():
    encoder = MiniLMPages()
    pages = encoder.encode_pages([make_page(text) for text in (FERRY, APPLE, CLOCK)])
    queries = encoder.encode_queries(["boat schedule", "how to store fruit", "mending a watch"])
    scores = [[maxsim(query.vectors, page.vectors) for page in pages] for query in queries]
    assert np.argmax(scores, axis=1).tolist() == [0, 1, 2]


def test_numbers_count_twice_in_a_query():
    [query] = MiniLMPages().encode_queries(["revenue 2017"])
    lengths = np.linalg.norm(query.vectors, axis=1)
    np.testing.assert_allclose(lengths, [1, 2, 0.9], atol=1e-3)


def test_years_are_split_from_what_they_are_written_to():
    together, apart = MiniLMPages().encode_queries(["FY2017 revenue", "FY 2017 revenue"])
    np.testing.assert_array_equal(together.vectors, apart.vectors)


@pytest.mark.slow
def test_a_page_of_very_many_words_keeps_them_all_in_fewer_vectors():
    words = tuple(Word(f"word{i}", (0.1, i / 6000, 0.2, (i + 1) / 6000), 0) for i in range(5000))
    page = make_page("x")
    page = Page(page.document, 1, "1", 612, 792, words, page.blocks)
    vectors, boxes = placed(page)
    assert 1024 <= len(vectors) <= 2048
    assert boxes[:, 3].max() == pytest.approx(5000 / 6000)


def test_parts_are_equal_and_cover_everything():
    parts = equal_parts(1000, 4)
    assert [part.stop - part.start for part in parts] == [250] * 4
    assert (parts[0].start, parts[-1].stop) == (0, 1000)
    assert equal_parts(0, 0) == [slice(0, 0)]
