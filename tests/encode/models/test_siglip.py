"""SigLIP and SigLIP 2 beside transformers, on inputs made as their model cards say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from docrag.encode.base import EncoderOptions
from docrag.encode.checkpoints.torchvision import mend_torchvision
from docrag.encode.models import siglip
from docrag.encode.registry import page_encoder
from docrag.errors import ModelUnavailable, SettingsError
from tests.checkpoints.siglip import DIM, LENGTH, SIDE, save_siglip, save_siglip_spm
from tests.samples import make_image

EXACT = EncoderOptions(device="cpu", dtype="float32")
IMAGES = [make_image(1), make_image(2, 500, 200), make_image(3, 120, 600)]
TEXTS = ["an invoice", "a chart of many colours", "?!", "fy2023 " * 40]
PARITY = {"pil": 1e-4, "torchvision": 2e-3}
"""By what resizes the images: docrag lets Pillow do it everywhere, and torchvision rounds otherwise."""
CLASSES = {"siglip": "SiglipModel", "siglip2": "SiglipModel", "siglip2-naflex": "Siglip2Model"}
TOKENIZERS = {"siglip": "AutoTokenizer", "siglip2": "Siglip2Tokenizer", "siglip2-naflex": "Siglip2Tokenizer"}


def reference(path: str, family: str, backend: str, **images):
    """What transformers' own model says of IMAGES and TEXTS."""
    mend_torchvision()
    import transformers
    from transformers import AutoImageProcessor

    model = getattr(transformers, CLASSES[family]).from_pretrained(path).eval()
    tokenizer = getattr(transformers, TOKENIZERS[family]).from_pretrained(path)
    texts = tokenizer(TEXTS, padding="max_length", max_length=64, truncation=True, return_tensors="pt")
    pictures = AutoImageProcessor.from_pretrained(path, backend=backend)(
        IMAGES, return_tensors="pt", **images
    )
    with torch.no_grad():
        output = model(input_ids=texts["input_ids"], **pictures)
        return output, float(model.logit_scale.exp()), float(model.logit_bias)


@pytest.mark.parametrize("family", CLASSES)
@pytest.mark.parametrize("backend", ["pil", "torchvision"])
def test_scores_are_those_of_transformers(checkpoint, family, backend):
    path = checkpoint(family)
    output, scale, bias = reference(path, family, backend)
    encoder = page_encoder(path, EXACT)
    images = encoder.encode(IMAGES)
    cosines = images @ encoder.encode(TEXTS).T
    np.testing.assert_allclose(
        cosines, (output.logits_per_image.numpy() - bias) / scale, atol=PARITY[backend]
    )
    if backend == "pil":
        theirs = torch.sigmoid(output.logits_per_image).numpy()
        np.testing.assert_allclose(encoder.label(images, TEXTS), theirs, atol=PARITY[backend], rtol=1e-2)


@pytest.mark.parametrize("patches", [4, 9, 64])
def test_naflex_sees_as_many_patches_as_asked(checkpoint, patches):
    path = checkpoint("siglip2-naflex")
    output, scale, bias = reference(path, "siglip2-naflex", "pil", max_num_patches=patches)
    encoder = page_encoder(path, EncoderOptions(device="cpu", dtype="float32", max_patches=patches))
    cosines = encoder.encode(IMAGES) @ encoder.encode(TEXTS).T
    np.testing.assert_allclose(cosines, (output.logits_per_image.numpy() - bias) / scale, atol=PARITY["pil"])
    assert encoder.spec.max_patches == patches
    assert encoder.spec.fingerprint() != page_encoder(path, EXACT).spec.fingerprint()


def test_naflex_does_not_take_the_256_patches_that_its_processor_insists_on(checkpoint):
    mend_torchvision()
    from transformers import Siglip2Processor

    path = checkpoint("siglip2-naflex")
    theirs = Siglip2Processor.from_pretrained(path)(images=IMAGES, text=TEXTS, return_tensors="pt")
    assert theirs["pixel_values"].shape[1] == 256
    assert theirs["pixel_values"].shape[2] == 3 * 16 * 16  # and patches of 16, where this model has 8
    default, same = page_encoder(path, EXACT), EncoderOptions(device="cpu", dtype="float32", max_patches=16)
    np.testing.assert_array_equal(default.encode(IMAGES), page_encoder(path, same).encode(IMAGES))


def test_the_specification_comes_from_the_configuration(checkpoint):
    for family in ("siglip", "siglip2"):
        spec = page_encoder(checkpoint(family), EXACT).spec
        assert (spec.family, spec.dim, spec.image_side, spec.kind) == ("siglip", DIM, SIDE, "single")
    small = page_encoder(checkpoint("siglip2-naflex"), EXACT).spec
    large = page_encoder(checkpoint("siglip2-naflex"), EncoderOptions(device="cpu", max_patches=1024)).spec
    assert (small.family, small.dim) == ("siglip2", DIM)
    assert small.image_side < large.image_side


def test_what_the_hub_leaves_out_of_a_configuration_is_what_the_class_says(tmp_path):
    config = {
        "model_type": "siglip",
        "text_config": {"vocab_size": 256000},
        "vision_config": {"image_size": 512},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    spec = page_encoder(str(tmp_path), EXACT).spec
    assert (spec.dim, spec.image_side) == (768, 512)


@pytest.mark.parametrize("family", CLASSES)
def test_texts_are_padded_to_the_full_length_and_carry_no_mask(checkpoint, family, monkeypatch):
    towers = page_encoder(checkpoint(family), EXACT).towers
    seen = {}
    real = towers._model.get_text_features
    monkeypatch.setattr(
        towers._model, "get_text_features", lambda **inputs: seen.update(inputs) or real(**inputs)
    )
    towers.encode_texts(["short", "longer text", "far too long " * 100])
    assert set(seen) == {"input_ids"}
    assert seen["input_ids"].shape == (3, LENGTH)


@pytest.mark.parametrize("family", ["siglip2", "siglip2-naflex"])
def test_siglip_2_reads_lower_case_whatever_tokenizer_its_checkpoint_names(checkpoint, family):
    path = checkpoint(family)
    named = json.loads((Path(path) / "tokenizer_config.json").read_text())["tokenizer_class"]
    found = page_encoder(path, EXACT).encode(["Invoice OF A Ferry", "invoice of a ferry"])
    assert named == "GemmaTokenizer"  # as on the hub; it keeps capitals
    np.testing.assert_array_equal(found[0], found[1])


def test_vectors_are_not_of_length_one_before_they_leave(checkpoint):
    for family in CLASSES:
        towers = page_encoder(checkpoint(family), EXACT).towers
        assert not np.allclose(np.linalg.norm(towers.encode_images(IMAGES), axis=1), 1, atol=0.01)


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
@pytest.mark.parametrize("options", [{"resolution": 448}, {"max_patches": 256}])
def test_another_resolution_is_refused(checkpoint, family, options):
    with pytest.raises(SettingsError, match=f"{SIDE} by {SIDE}"):
        page_encoder(checkpoint(family), EncoderOptions(device="cpu", **options))


def test_naflex_counts_patches_not_pixels(checkpoint):
    with pytest.raises(SettingsError, match="patches") as caught:
        page_encoder(checkpoint("siglip2-naflex"), EncoderOptions(device="cpu", resolution=448))
    assert "--max-patches" in caught.value.hint


def test_a_missing_sentencepiece_is_told_before_anything_is_read(tmp_path, monkeypatch):
    path = save_siglip(tmp_path)
    config = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps({**config, "tokenizer_class": "SiglipTokenizer"}))
    monkeypatch.setattr(siglip, "find_spec", lambda name: None)
    with pytest.raises(ModelUnavailable, match="sentencepiece"):
        page_encoder(str(path), EXACT)


def test_the_tokenizer_of_siglip_drops_capitals_and_punctuation(tmp_path):
    pytest.importorskip("sentencepiece", reason="only the tokenizer of the first SigLIP needs it")
    encoder = page_encoder(str(save_siglip_spm(tmp_path)), EXACT)
    found = encoder.encode(["An Invoice, please!", "an invoice please", "a chart"])
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.allclose(found[0], found[2], atol=1e-3)


def test_probabilities_do_not_overflow(checkpoint):
    towers = page_encoder(checkpoint("siglip"), EXACT).towers
    found = towers.probabilities(np.array([[-1.0, 0.0, 1.0]], np.float32))
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()
