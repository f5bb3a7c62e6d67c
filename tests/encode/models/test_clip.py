"""CLIP beside transformers and sentence-transformers, in all layouts of its checkpoints."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from docrag.encode.base import EncoderOptions
from docrag.encode.checkpoints.torchvision import mend_torchvision
from docrag.encode.registry import page_encoder
from docrag.errors import ModelUnavailable, SettingsError, WeightsMismatch
from tests.checkpoints.clip import DIM, MAX_TOKENS, SIDE, save_clip, save_clip_legacy
from tests.samples import make_image

EXACT = EncoderOptions(device="cpu", dtype="float32")
IMAGES = [make_image(1), make_image(2, 500, 200), make_image(3, 120, 600)]
TEXTS = ["An invoice", "a chart of many colours", "?!", "FY2023 " * 40]
PARITY = 1e-4


def cosines(encoder, images=IMAGES, texts=TEXTS):
    return encoder.encode(images) @ encoder.encode(texts).T


@pytest.mark.parametrize("backend", ["pil", "torchvision"])
def test_scores_are_those_of_transformers(checkpoint, backend):
    mend_torchvision()
    from transformers import AutoProcessor, CLIPModel

    path = checkpoint("clip")
    model, make = CLIPModel.from_pretrained(path).eval(), AutoProcessor.from_pretrained(path, backend=backend)
    inputs = make(text=TEXTS, images=IMAGES, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        output = model(**inputs)
        theirs = (output.logits_per_image / model.logit_scale.exp()).numpy()
    encoder = page_encoder(path, EXACT)
    assert type(make.image_processor).__name__.endswith("Pil") == (backend == "pil")
    np.testing.assert_allclose(cosines(encoder), theirs, atol=PARITY)
    np.testing.assert_allclose(
        encoder.label(encoder.encode(IMAGES), TEXTS),
        output.logits_per_image.softmax(dim=1).numpy(),
        atol=PARITY,
    )


@pytest.mark.parametrize("family", ["clip", "clip-st", "clip-legacy"])
def test_vectors_are_those_of_sentence_transformers(checkpoint, family):
    mend_torchvision()
    from sentence_transformers import SentenceTransformer

    path = checkpoint(family)
    model = SentenceTransformer(path, device="cpu", processor_kwargs={"backend": "pil"})
    encoder = page_encoder(path, EXACT)
    for items in (IMAGES, TEXTS):
        theirs = model.encode(items, normalize_embeddings=True, show_progress_bar=False)
        np.testing.assert_allclose(encoder.encode(items), theirs, atol=PARITY)


def test_the_specification_comes_from_the_configuration(checkpoint):
    for family in ("clip", "clip-st", "clip-legacy"):
        spec = page_encoder(checkpoint(family), EXACT).spec
        assert (spec.family, spec.dim, spec.image_side, spec.kind) == ("clip", DIM, SIDE, "single")
        assert spec.library == "transformers"


def test_what_a_configuration_leaves_out_is_what_the_class_says(tmp_path):
    save_clip(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "clip", "architectures": ["CLIPModel"]}))
    spec = page_encoder(str(tmp_path), EXACT).spec
    assert (spec.dim, spec.image_side) == (512, 224)


def test_a_configuration_without_a_class_is_known_by_its_type(tmp_path):
    save_clip(tmp_path)
    config = tmp_path / "config.json"
    without_class = {
        name: value for name, value in json.loads(config.read_text()).items() if name != "architectures"
    }
    config.write_text(json.dumps(without_class))
    assert page_encoder(str(tmp_path), EXACT).encode(["a ferry"]).shape == (1, DIM)


def test_vectors_are_not_of_length_one_before_they_leave(checkpoint):
    towers = page_encoder(checkpoint("clip"), EXACT).towers
    lengths = np.linalg.norm(towers.encode_images(IMAGES), axis=1)
    assert not np.allclose(lengths, 1, atol=0.1)


def test_a_long_text_is_cut_and_no_longer_differs(checkpoint):
    encoder = page_encoder(checkpoint("clip"), EXACT)
    start = "x" * (MAX_TOKENS - 2)  # a letter is a token, and there are two around them
    found = encoder.encode([start + "a" * 50, start + "b" * 500, "y" + start])
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    assert not np.allclose(found[0], found[2], atol=1e-3)


def test_max_seq_length_is_honoured(tmp_path):
    encoder = page_encoder(str(save_clip_legacy(tmp_path, max_seq_length=10)), EXACT)
    found = encoder.encode(["12345678 and on", "12345678 or not", "1234567"])
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    assert not np.allclose(found[0], found[2], atol=1e-3)


def test_max_seq_length_beyond_the_model_is_not(tmp_path):
    encoder = page_encoder(str(save_clip_legacy(tmp_path, max_seq_length=512)), EXACT)
    assert np.isfinite(encoder.encode(["long " * 400])).all()


def test_processor_name_is_honoured(tmp_path):
    other = save_clip(tmp_path / "other")
    settings = json.loads((other / "processor_config.json").read_text())
    settings["image_processor"]["image_mean"] = [0.0, 0.0, 0.0]
    (other / "processor_config.json").write_text(json.dumps(settings))
    plain = page_encoder(str(save_clip_legacy(tmp_path / "plain")), EXACT)
    named = save_clip_legacy(tmp_path / "named", processor_name=str(other))
    for file in (named / "0_CLIPModel").glob("*processor*"):
        file.unlink()
    encoder = page_encoder(str(named), EXACT)
    assert not np.allclose(encoder.encode(IMAGES), plain.encode(IMAGES), atol=1e-3)
    np.testing.assert_allclose(encoder.encode(TEXTS), plain.encode(TEXTS), atol=1e-6)
    np.testing.assert_allclose(
        encoder.encode(IMAGES), page_encoder(str(other), EXACT).encode(IMAGES), atol=1e-6
    )


def test_a_processor_elsewhere_is_in_the_digest(tmp_path):
    other = save_clip(tmp_path / "other")
    named = save_clip_legacy(tmp_path / "named", processor_name=str(other))
    before = page_encoder(str(named), EXACT).spec.digest
    (other / "processor_config.json").write_text("{}")
    assert page_encoder(str(named), EXACT).spec.digest != before


def test_layers_after_clip_are_refused(tmp_path):
    path = save_clip_legacy(tmp_path)
    modules = json.loads((path / "modules.json").read_text())
    modules.append({"idx": 1, "name": "1", "path": "1_Dense", "type": "sentence_transformers.models.Dense"})
    (path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(WeightsMismatch, match="Dense"):
        page_encoder(str(path), EXACT)


@pytest.mark.parametrize("options", [{"resolution": 448}, {"max_patches": 256}])
def test_another_resolution_is_refused(checkpoint, options):
    with pytest.raises(SettingsError, match=f"{SIDE} by {SIDE}") as caught:
        page_encoder(checkpoint("clip"), EncoderOptions(device="cpu", **options))
    assert "naflex" in caught.value.hint


def test_missing_files_are_named(tmp_path):
    path = save_clip(tmp_path)
    for file in path.glob("*processor*"):
        file.unlink()
    with pytest.raises(ModelUnavailable, match="image processor"):
        page_encoder(str(path), EXACT).encode(IMAGES)


def test_a_damaged_configuration_is_named(tmp_path):
    path = save_clip_legacy(tmp_path)
    (path / "0_CLIPModel" / "config.json").write_text("{")
    with pytest.raises(ModelUnavailable, match="config"):
        page_encoder(str(path), EXACT)


def test_labels_have_the_temperature_of_the_model(checkpoint):
    encoder = page_encoder(checkpoint("clip"), EXACT)
    images = encoder.encode(IMAGES)
    odds = np.log(encoder.label(images, TEXTS))
    steps = (odds[:, 0] - odds[:, 1]) / (cosines(encoder)[:, 0] - cosines(encoder)[:, 1])
    np.testing.assert_allclose(steps, math.exp(2.6592), rtol=1e-2)


def test_the_modules_of_sentence_transformers_lie_where_they_should(checkpoint):
    legacy, st = Path(checkpoint("clip-legacy")), Path(checkpoint("clip-st"))
    assert (legacy / "0_CLIPModel" / "model.safetensors").is_file()
    assert not (legacy / "config.json").exists()
    assert (st / "modules.json").is_file()
    assert (st / "config.json").is_file()
