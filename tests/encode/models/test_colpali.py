"""colpali-engine: the same numbers as the library itself gives, its traps, checkpoints of another kind."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from docrag.encode.base import EncoderOptions
from docrag.encode.models.colpali import ARCHITECTURES, FAMILY, architecture_of
from docrag.encode.page_images import page_image
from docrag.encode.registry import page_encoder
from docrag.errors import ModelUnavailable, WeightsMismatch
from tests.checkpoints.reference import FULL, images_of, options, reference, straight
from tests.encode.maxsim import maxsim
from tests.samples import make_image, picture_page

PAGES = [picture_page(1), picture_page(2, 500, 200), picture_page(3, 120, 600)]
QUERIES = ["When does the ferry leave?", "pendulum", "FY2023 total of all the things that were sold"]
PARITY = 1e-4


@pytest.mark.parametrize("family", FULL)
def test_scores_are_those_of_the_library(checkpoint, loaded, family):
    encoder = loaded(family)
    model, processor = reference(family, checkpoint(family))
    side = encoder.spec.image_side
    pages = [straight(model, images_of(processor, [page_image(page, side)])) for page in PAGES]
    queries = [straight(model, processor.process_queries([query])) for query in QUERIES]
    expected = processor.score_multi_vector(queries, pages, device="cpu").numpy()
    encoded = encoder.encode_pages(PAGES)
    scores = [[maxsim(q.vectors, p.vectors) for p in encoded] for q in encoder.encode_queries(QUERIES)]
    np.testing.assert_allclose(scores, expected, atol=PARITY)
    assert np.ptp(expected) > 100 * PARITY  # the pages do differ


@pytest.mark.parametrize("family", FULL)
def test_what_is_known_before_the_weights_is_true_of_them(checkpoint, family):
    encoder = page_encoder(checkpoint(family), options())
    assert "_model" not in vars(encoder)
    assert encoder.spec.family == family
    assert encoder.spec.dim == encoder._model._model.dim == encoder.encode_queries(["a"])[0].vectors.shape[1]


@pytest.mark.parametrize("family", FULL)
def test_bfloat16_gives_finite_rows_of_length_one(checkpoint, family):
    encoder = page_encoder(checkpoint(family), EncoderOptions(device="cpu", dtype="bfloat16", batch_size=3))
    for encoded in [*encoder.encode_pages(PAGES), *encoder.encode_queries(QUERIES)]:
        np.testing.assert_allclose(np.linalg.norm(encoded.vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("family", FULL)
def test_rows_of_padding_are_cut_whatever_stands_there(loaded, family, monkeypatch):
    """Some kernels of torch give NaN where every token is masked; the library multiplies it by zero."""
    encoder = loaded(family)
    expected = encoder.encode_queries(QUERIES)
    model = encoder._model._model

    def spoilt(**inputs):
        output = model(**inputs)
        assert not inputs["attention_mask"].all()
        return output.masked_fill(inputs["attention_mask"][..., None] == 0, torch.nan)

    spoilt.config, spoilt.dtype = model.config, model.dtype
    monkeypatch.setattr(encoder._model, "_model", spoilt)
    for encoded, clean in zip(encoder.encode_queries(QUERIES), expected, strict=True):
        np.testing.assert_array_equal(encoded.vectors, clean.vectors)


def test_colpali_has_no_language_head_left_behind(loaded):
    model = loaded("colpali")._model._model
    assert not [name for name, weight in model.named_parameters() if weight.is_meta]
    assert isinstance(model.model.lm_head, torch.nn.Identity)


def test_colpali_page_has_the_two_bos_tokens_of_the_library(loaded):
    [page] = loaded("colpali").encode_pages(PAGES[:1])
    assert len(page.vectors) == 16 + 2 + len("Describe the image.\n")


def test_short_colpali_queries_do_not_attend_their_padding(checkpoint, loaded):
    """Without token types they do: the library's own batch is another vector."""
    _, processor = reference("colpali", checkpoint("colpali"))
    encoder = loaded("colpali")
    [alone], [padded, _] = encoder.encode_queries(["a"]), encoder.encode_queries(["a", "b" * 200])
    np.testing.assert_allclose(alone.vectors, padded.vectors, atol=1e-6)
    model = encoder._model._model
    with torch.inference_mode():
        library = model(**processor.process_queries(["a", "b" * 200]))[0, : len(alone.vectors)]
    assert (library.numpy() * alone.vectors).sum(axis=1).min() < 0.999


@pytest.mark.parametrize("family", FULL)
def test_a_query_that_names_an_image_stays_a_text(loaded, family, tmp_path):
    photo = tmp_path / "photo.png"
    make_image(1).save(photo)
    queries = [str(photo), "http://127.0.0.1:9/photo.png", "data:image/png;base64,AAAA"]
    encoder = loaded(family)
    for query, encoded in zip(queries, encoder.encode_queries(queries), strict=True):
        letters = len(query) if family != "colqwen3.5" else len(query.replace(" ", ""))
        assert letters <= len(encoded.vectors) <= letters + 40


@pytest.mark.parametrize("family", FULL)
def test_a_query_with_the_token_of_an_image_is_a_text_too(loaded, family):
    """The libraries take it for an image that was forgotten, and fail."""
    tokens = ["<image>", "<|image_pad|>", "<start_of_image>", "<image_soft_token>"]
    encoder = loaded(family)
    for encoded in encoder.encode_queries([f"what is {token} in HTML?" for token in tokens]):
        assert np.isfinite(encoded.vectors).all()


def test_a_checkpoint_of_another_library_is_refused(checkpoint):
    native = checkpoint("colqwen2-hf")
    with pytest.raises(WeightsMismatch, match="not of colpali-engine") as refused:
        page_encoder(f"colpali-engine:{native}", options())
    assert refused.value.hint == f"ask for sentence-transformers:{native}"


def test_weights_of_another_layout_are_refused_when_they_are_loaded(checkpoint, tmp_path):
    """As above, but the configuration lies: 60 weights would stay random."""
    lying = Path(shutil.copytree(checkpoint("colqwen2"), tmp_path / "lying"))
    shutil.copy(Path(checkpoint("colqwen2-hf")) / "model.safetensors", lying)
    with pytest.raises(WeightsMismatch, match="lacks"):
        page_encoder(str(lying), options()).encode_queries(["a"])


def test_weights_of_another_shape_are_refused(checkpoint, tmp_path):
    other = Path(shutil.copytree(checkpoint("colqwen3.5"), tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "dim": 64}))
    encoder = page_encoder(str(other), options())
    assert encoder.spec.dim == 64
    with pytest.raises(WeightsMismatch, match="custom_text_proj"):
        encoder.encode_queries(["a"])


def test_a_checkpoint_without_a_tokenizer_is_refused(checkpoint, tmp_path):
    bare = Path(shutil.copytree(checkpoint("colqwen2"), tmp_path / "bare"))
    for file in [*bare.glob("tokenizer*"), bare / "processor_config.json"]:
        file.unlink()
    with pytest.raises(ModelUnavailable, match="processor"):
        page_encoder(str(bare), options()).encode_queries(["a"])


def test_without_the_library_the_error_says_what_to_install(checkpoint, monkeypatch):
    path = checkpoint("colqwen2")
    monkeypatch.setitem(sys.modules, "colpali_engine.models", None)
    with pytest.raises(ModelUnavailable, match="needs colpali-engine") as refused:
        page_encoder(path, options()).encode_queries(["a"])
    assert "docrag-qdrant[models]" in refused.value.hint


def test_every_architecture_has_a_short_name():
    assert all(architecture.checkpoints for architecture in ARCHITECTURES)
    without_own_name = {each.name for each in ARCHITECTURES if each.name not in each.checkpoints}
    assert without_own_name == {"colidefics3"}  # its checkpoints are called colsmol
    for card in FAMILY.checkpoints.values():
        assert card.option == "late"
        assert card.licence


def test_a_class_that_docrag_does_not_know_is_an_error_that_names_those_that_it_knows():
    with pytest.raises(WeightsMismatch, match="ColQwen9") as refused:
        architecture_of("ColQwen9")
    assert "ColQwen2_5" in refused.value.hint
