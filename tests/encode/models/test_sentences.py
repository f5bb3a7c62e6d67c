"""Text models of sentence-transformers as caption encoders."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from docrag.encode.base import EncoderOptions
from docrag.encode.registry import name_of, page_encoder, text_encoder
from docrag.errors import UnknownModel, WeightsMismatch
from tests.checkpoints.families import drop_a_weight, edit_json
from tests.checkpoints.sentences import save_sentences, save_sighted, save_static
from tests.samples import APPLE, CLOCK, FERRY, make_image

TEXTS = ["pendulum", FERRY, "", APPLE * 20, "a", CLOCK, "Wie heißt das Schiff?"]
FLOAT32 = EncoderOptions(device="cpu", dtype="float32", batch_size=3)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_sentences(tmp_path_factory.mktemp("text") / "model")


@pytest.fixture(scope="module")
def encoder(model):
    return text_encoder(str(model), FLOAT32)


def reference(model):
    """The same checkpoint in sentence-transformers alone."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(
        str(model), device="cpu", model_kwargs={"dtype": "float32"}, local_files_only=True
    )


def test_what_it_is(encoder, model):
    spec = encoder.spec
    assert (spec.kind, spec.dim, spec.library) == ("text", 24, "sentence-transformers")
    assert spec.family == "BertModel"
    assert len(spec.digest) == 64
    again = text_encoder(name_of(spec.fingerprint()), FLOAT32)
    assert again.spec == spec


def test_rows_are_of_length_one_and_in_order(encoder):
    for encode in (encoder.encode_passages, encoder.encode_queries):
        rows = encode(TEXTS)
        assert rows.dtype == np.float32
        assert rows.shape == (len(TEXTS), 24)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(encode(TEXTS[::-1])[::-1], rows, atol=1e-5)
        np.testing.assert_allclose(np.vstack([encode([text]) for text in TEXTS]), rows, atol=1e-5)


def test_nothing_gives_no_rows(encoder):
    assert encoder.encode_passages([]).shape == (0, 24)
    assert encoder.encode_queries([]).shape == (0, 24)


def test_vectors_are_those_of_sentence_transformers(encoder, model):
    library = reference(model)
    settings = {"normalize_embeddings": True, "batch_size": 1}
    query = library.encode(TEXTS, prompt_name="query", **settings)
    passage = library.encode(TEXTS, prompt_name="document", **settings)
    np.testing.assert_allclose(encoder.encode_queries(TEXTS), query, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_passages(TEXTS), passage, atol=1e-5)


def test_prompts_are_part_of_the_vectors_and_of_the_fingerprint(encoder, model, tmp_path):
    assert np.abs(encoder.encode_queries(["ferry"]) - encoder.encode_passages(["ferry"])).max() > 1e-3
    bare = tmp_path / "bare"
    shutil.copytree(model, bare)
    edit_json(bare / "config_sentence_transformers.json", prompts={})
    plain = text_encoder(str(bare), FLOAT32)
    np.testing.assert_allclose(
        plain.encode_queries(["query: ferry"]), encoder.encode_queries(["ferry"]), atol=1e-5
    )
    np.testing.assert_array_equal(plain.encode_queries(["ferry"]), plain.encode_passages(["ferry"]))
    assert plain.spec.digest != encoder.spec.digest


def test_a_long_text_is_cut_where_the_model_ends(encoder):
    head = APPLE[: 48 - len("passage: ")]
    [whole, longer, shorter] = encoder.encode_passages([head, head + "zzz", head[:-1]])
    np.testing.assert_allclose(longer, whole, atol=1e-5)
    assert np.abs(shorter - whole).max() > 1e-4


def test_a_text_that_names_an_image_stays_text(tmp_path):
    """In a model of texts nothing else is possible; one that sees images too would open the file."""
    picture = tmp_path / "photo.png"
    make_image(1).save(picture)
    texts = [str(picture), "http://example.org/photo.png", "data:image/png;base64,iVBORw0KGgo="]
    model = save_sighted(tmp_path / "model")
    messages = [[{"role": "user", "content": [{"type": "text", "text": text}]}] for text in texts]
    expected = reference(model).encode_query(messages, normalize_embeddings=True)
    np.testing.assert_allclose(text_encoder(str(model), FLOAT32).encode_queries(texts), expected, atol=1e-5)


def test_a_text_with_the_token_of_an_image_is_a_text_too(tmp_path):
    """A page about HTML would end the ingest."""
    encoder = text_encoder(str(save_sighted(tmp_path / "model")), FLOAT32)
    named, broken_up = encoder.encode_passages(["put an <image> here", "put an < image> here"])
    np.testing.assert_allclose(named, broken_up, atol=1e-6)


@pytest.mark.parametrize("file", ["model.safetensors", "2_Dense/model.safetensors"])
def test_missing_weights_are_refused(model, tmp_path, file):
    broken = text_encoder(str(drop_a_weight(model, tmp_path / "broken", file)), FLOAT32)
    with pytest.raises(WeightsMismatch, match="lacks"):
        broken.encode_queries(["ferry"])


def test_a_pooler_that_nothing_uses_may_be_missing(encoder, model, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(model, tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    weights = load_file(file)
    kept = {name: weight for name, weight in weights.items() if not name.startswith("pooler.")}
    assert len(kept) < len(weights)
    save_file(kept, file, {"format": "pt"})
    rows = text_encoder(str(tmp_path / "model"), FLOAT32).encode_queries(TEXTS)
    np.testing.assert_allclose(rows, encoder.encode_queries(TEXTS), atol=1e-6)


def test_saved_again_it_is_the_same(encoder, model, tmp_path):
    reference(model).save_pretrained(str(tmp_path / "again"), create_model_card=False)
    again = text_encoder(str(tmp_path / "again"), FLOAT32)
    np.testing.assert_allclose(again.encode_passages(TEXTS), encoder.encode_passages(TEXTS), atol=1e-6)


def test_weights_in_the_older_file_are_read_and_checked(encoder, model, tmp_path):
    import torch
    from safetensors.torch import load_file

    shutil.copytree(model, tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    weights = load_file(file)
    file.unlink()
    torch.save(weights, file.with_name("pytorch_model.bin"))
    rows = text_encoder(str(tmp_path / "model"), FLOAT32).encode_queries(TEXTS)
    np.testing.assert_allclose(rows, encoder.encode_queries(TEXTS), atol=1e-6)
    del weights["encoder.layer.0.attention.self.query.weight"]
    torch.save(weights, file.with_name("pytorch_model.bin"))
    with pytest.raises(WeightsMismatch, match="lacks"):
        text_encoder(str(tmp_path / "model"), FLOAT32).encode_queries(TEXTS)


def test_a_model_of_word_vectors_alone(tmp_path):
    encoder = text_encoder(str(save_static(tmp_path / "static")), FLOAT32)
    assert encoder.spec.dim == 16
    rows = encoder.encode_passages(["ferry", "yrref", "apple"])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)  # it knows no order
    assert np.abs(rows[0] - rows[2]).max() > 1e-3


def test_bfloat16_is_close(encoder, model):
    half = text_encoder(str(model), EncoderOptions(device="cpu", dtype="bfloat16")).encode_passages(TEXTS)
    assert half.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, atol=1e-5)
    assert ((half * encoder.encode_passages(TEXTS)).sum(axis=1) > 0.99).all()


def test_it_is_no_encoder_of_pages(model):
    with pytest.raises(UnknownModel, match="encodes texts, not pages") as refused:
        page_encoder(str(model))
    assert "--text" in refused.value.hint
