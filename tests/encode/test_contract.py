"""What every page encoder promises, whatever family it belongs to."""

from __future__ import annotations

import numpy as np
import pytest

from docrag.encode.base import EncoderOptions, PageEncoder
from docrag.encode.checkpoints.checkpoint import locate
from docrag.encode.registry import load_families, name_of, page_encoder
from docrag.encode.texts import QUESTION_WORDS
from docrag.errors import WeightsMismatch
from tests.checkpoints.families import PAGE_BUILDERS, broken
from tests.samples import APPLE, CLOCK, FERRY, make_page, picture_page

WORDS = [
    make_page(FERRY, title="Ferry report 2023"),
    make_page(APPLE * 40, title="Orchards", number=2),
    make_page("", title="Blank", number=3),
    make_page(CLOCK),
    make_page(""),
]
PICTURES = [
    picture_page(1),
    picture_page(2, 500, 200),
    picture_page(3, 120, 600),
    picture_page(5, 3000, 10),  # thinner than some image processors take
    picture_page(4, 30, 30),
    picture_page(1),
]
LONG = "ferry " * 550
"""More words than any of the models takes."""
QUERIES = [
    "When does the ferry leave?",
    "pendulum",
    "the of and",
    "?!",
    "FY2023 of the report",
    LONG,
    "Wie heißt das Schiff?",
    "http://example.org/photo.png",
    "what is <image> here, or <|image_pad|>, <image_soft_token> and <row_1_col_1>?",
    "</s> [SEP] <|endoftext|> <eos>",
]
WORDS_OF_TEXTS = {
    "When does the ferry leave?": "When does the ferry leave",
    "pendulum": "pendulum",
    "the of and": "the of and",
    "?!": "",
    "ferry ⛴️, then the (northern) islands": "ferry ⛴️ then the northern islands",
    "  state-of-the-art U.S. GDP\n of 2017:": "state-of-the-art U.S GDP of 2017",
    "see http://example.org/photo.png now": "see http://example.org/photo.png now",
    "Wie heißt 渡船时刻表 hier": "Wie heißt 渡船时刻表 hier",
    "what is <image> here, or <|image_pad|>, <image_soft_token> and <row_1_col_1>?": (
        "what is image here or image_pad image_soft_token and row_1_col_1"
    ),
    "</s> [SEP] <|endoftext|> <eos>": "s SEP endoftext eos",
    LONG: "ferry",
}
"""Texts, and the words that a reader would name, each once."""
TEXTS = list(dict.fromkeys([*QUERIES, *WORDS_OF_TEXTS]))
ALONE = 1e-5
"""How much a value may depend on the batch in which it is computed, in float32."""
LOCAL = sorted(name for family in load_families() for name in family.pages if not name.startswith("voyage"))
"""Built-in encoders that need no network."""


@pytest.fixture(
    scope="module",
    params=[*LOCAL, *(pytest.param(name, marks=pytest.mark.slow) for name in PAGE_BUILDERS)],
)
def encoder(request: pytest.FixtureRequest) -> PageEncoder:
    name = request.param
    if name in PAGE_BUILDERS:
        name = request.getfixturevalue("checkpoint")(name)
    return page_encoder(name, EncoderOptions(device="cpu", dtype="float32", batch_size=3))


@pytest.fixture(scope="module")
def pages(encoder):
    return WORDS if encoder.spec.needs == "words" else PICTURES


@pytest.fixture(scope="module")
def encoded_pages(encoder, pages):
    """The pages, encoded in their order."""
    return encoder.encode_pages(pages)


@pytest.fixture(scope="module")
def encoded_queries(encoder):
    """Text -> the query encoded among the others, and alone."""
    together = encoder.encode_queries(TEXTS)
    return {
        text: (batched, encoder.encode_queries([text])[0])
        for text, batched in zip(TEXTS, together, strict=True)
    }


def test_pages_are_rows_of_the_dimension_and_of_length_one(encoder, encoded_pages):
    for encoded in encoded_pages:
        assert encoded.vectors.dtype == np.float32
        assert encoded.vectors.shape[0] >= 1
        assert encoded.vectors.shape[1] == encoder.spec.dim
        np.testing.assert_allclose(np.linalg.norm(encoded.vectors, axis=1), 1, atol=1e-5)
        if encoded.summary is not None:
            np.testing.assert_allclose(np.linalg.norm(encoded.summary), 1, atol=1e-5)


def test_every_vector_has_a_box_within_the_page_or_none(encoded_pages):
    for encoded in encoded_pages:
        assert encoded.boxes.shape == (len(encoded.vectors), 4)
        placed = encoded.boxes[~np.isnan(encoded.boxes[:, 0])]
        assert not np.isnan(placed).any()
        assert ((placed >= 0) & (placed <= 1)).all()
        assert (placed[:, :2] <= placed[:, 2:]).all()


def test_queries_are_finite_and_never_empty(encoder, encoded_queries):
    for encoded, _ in encoded_queries.values():
        assert encoded.vectors.shape[0] >= 1
        assert encoded.vectors.shape[1] == encoder.spec.dim
        assert np.isfinite(encoded.vectors).all()
        assert (np.linalg.norm(encoded.vectors, axis=1) > 0).all()
        assert encoded.boxes is None


def test_a_page_alone_is_the_page_in_a_batch(encoder, pages, encoded_pages):
    for page, batched in zip(pages, encoded_pages, strict=True):
        [alone] = encoder.encode_pages([page])
        np.testing.assert_allclose(alone.vectors, batched.vectors, atol=ALONE)
        np.testing.assert_array_equal(alone.boxes, batched.boxes)


def test_order_is_kept(encoder, pages, encoded_pages):
    backwards = encoder.encode_pages(pages[::-1])
    for one, other in zip(encoded_pages, backwards[::-1], strict=True):
        np.testing.assert_allclose(one.vectors, other.vectors, atol=ALONE)


def test_a_query_alone_is_the_query_in_a_batch(encoded_queries):
    for batched, alone in encoded_queries.values():
        np.testing.assert_allclose(alone.vectors, batched.vectors, atol=ALONE)


def test_the_words_of_a_query_are_those_of_its_text(encoder, encoded_queries):
    if encoder.spec.kind != "late":
        pytest.skip("one vector stands for the whole query")
    for text, words in WORDS_OF_TEXTS.items():
        encoded, alone = encoded_queries[text]
        assert len(encoded.words) == len(encoded.vectors)
        named = [word for word in dict.fromkeys(encoded.words) if word]
        lost = [word for word in words.split() if word not in named]
        assert [word for word in words.split() if word not in lost] == named, text
        # minilm drops words that say nothing; a byte-level tokenizer without some bytes leaves them out.
        assert all(word.lower() in {*QUESTION_WORDS, "s"} or not word.isascii() for word in lost), (
            text,
            lost,
        )
        assert alone.words == encoded.words


def test_nothing_gives_nothing(encoder):
    assert encoder.encode_pages([]) == []
    assert encoder.encode_queries([]) == []


def test_the_fingerprint_says_what_was_used(encoder):
    fingerprint = encoder.spec.fingerprint()
    assert fingerprint["family"] == encoder.spec.family
    assert fingerprint["dim"] == encoder.spec.dim


def test_pages_differ_and_equal_pages_do_not(encoder, encoded_pages):
    first, *others = encoded_pages
    assert not any(np.array_equal(first.vectors, other.vectors) for other in others[:-1])
    if encoder.spec.needs == "image":
        np.testing.assert_allclose(first.vectors, others[-1].vectors, atol=ALONE)


def test_its_name_finds_it_again(encoder, pages):
    again = page_encoder(name_of(encoder.spec.fingerprint()), EncoderOptions(device="cpu", dtype="float32"))
    assert again.spec == encoder.spec
    [one], [other] = encoder.encode_pages(pages[:1]), again.encode_pages(pages[:1])
    np.testing.assert_allclose(one.vectors, other.vectors, atol=ALONE)


def test_a_late_model_says_where_its_patches_are(encoder, pages, encoded_pages):
    if encoder.spec.kind != "late":
        pytest.skip("one vector stands for the whole page")
    for page, encoded in zip(pages, encoded_pages, strict=True):
        if encoder.spec.needs == "image" or page.words:
            assert (~np.isnan(encoded.boxes[:, 0])).any()
        if encoder.spec.needs == "image":  # its patches cover the page, each place once
            placed = encoded.boxes[~np.isnan(encoded.boxes[:, 0])]
            areas = (placed[:, 2] - placed[:, 0]) * (placed[:, 3] - placed[:, 1])
            np.testing.assert_allclose(areas.sum(), 1, atol=1e-4)
            assert len(np.unique(placed.round(5), axis=0)) == len(placed)


@pytest.mark.parametrize("name", [name for name, builder in PAGE_BUILDERS.items() if builder.architecture])
def test_a_tiny_checkpoint_has_the_architecture_that_its_builder_states(checkpoint, name):
    assert locate(checkpoint(name)).architecture == PAGE_BUILDERS[name].architecture


def test_weights_are_never_random(encoder, pages, tmp_path):
    if encoder.spec.library not in ("colpali-engine", "sentence-transformers", "transformers"):
        pytest.skip("its weights are no checkpoint of the user's")
    lacking = f"{encoder.spec.library}:{broken(encoder.spec.model, tmp_path / 'broken')}"
    with pytest.raises(WeightsMismatch, match="lacks"):
        page_encoder(lacking, EncoderOptions(device="cpu")).encode_pages(pages[:1])
