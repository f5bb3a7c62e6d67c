"""An image model and a text model side by side: multilingual CLIP."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import run

import numpy as np
import pytest

from docrag.encode.base import EncoderOptions
from docrag.encode.checkpoints.torchvision import mend_torchvision
from docrag.encode.models.clip import FAMILY
from docrag.encode.models.pair import halves, pinned
from docrag.encode.registry import is_name_of, name_of, page_encoder, text_encoder
from docrag.errors import UnknownModel, WeightsMismatch
from tests.checkpoints.clip import DIM, save_text_tower
from tests.checkpoints.families import drop_a_weight
from tests.samples import make_image

EXACT = EncoderOptions(device="cpu", dtype="float32")
IMAGES = [make_image(1), make_image(2, 500, 200)]
TEXTS = ["a red boat", "ein rotes Boot", "красная лодка", "Une facture?"]
PARITY = 1e-4


@pytest.fixture(scope="module")
def name(checkpoint):
    return checkpoint("clip-multilingual")


@pytest.fixture(scope="module")
def pair(name):
    return page_encoder(name, EXACT)


def test_images_are_those_of_the_image_model(name, pair):
    images = page_encoder(halves(name)[0], EXACT)
    np.testing.assert_array_equal(pair.encode(IMAGES), images.encode(IMAGES))
    assert not np.allclose(pair.encode(TEXTS), images.encode(TEXTS), atol=1e-2)


def test_texts_are_those_of_sentence_transformers(name, pair):
    mend_torchvision()
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(halves(name)[1], device="cpu")
    theirs = model.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    np.testing.assert_allclose(pair.encode(TEXTS), theirs, atol=PARITY)
    [query] = pair.encode_queries(TEXTS[:1])
    np.testing.assert_allclose(query.vectors, theirs[:1], atol=PARITY)


def test_labels_of_any_language_have_the_temperature_of_the_image_model(name, pair):
    images = page_encoder(halves(name)[0], EXACT)
    rows = pair.encode(IMAGES)
    expected = images.towers.probabilities(rows @ pair.encode(TEXTS).T)
    np.testing.assert_allclose(pair.label(rows, TEXTS), expected, atol=1e-6)
    np.testing.assert_allclose(pair.label(rows, TEXTS).sum(axis=1), 1, atol=1e-5)


def test_its_specification_names_both(name, pair):
    image, text = (page_encoder(halves(name)[0], EXACT).spec, text_encoder(halves(name)[1], EXACT).spec)
    assert pair.spec.model == f"{image.model}+{text.model}"
    assert pair.spec.dim == DIM
    assert pair.spec.family == "clip+text"
    assert pair.spec.digest not in (image.digest, text.digest)
    assert is_name_of(name, pair.spec.fingerprint())
    assert page_encoder(name_of(pair.spec.fingerprint()), EXACT).spec == pair.spec


def test_the_digest_covers_both(name, pair, tmp_path):
    other = save_text_tower(tmp_path, safe=False)
    assert page_encoder(f"{halves(name)[0]}+{other}", EXACT).spec.digest != pair.spec.digest


def test_dense_weights_may_be_of_either_kind(name, pair, tmp_path):
    old = save_text_tower(tmp_path, safe=False)
    assert not (old / "2_Dense" / "model.safetensors").exists()
    found = page_encoder(f"{halves(name)[0]}+{old}", EXACT).encode(TEXTS)
    np.testing.assert_allclose(found, pair.encode(TEXTS), atol=1e-6)


def test_dimensions_that_differ_are_refused_with_both(name, tmp_path):
    wide = save_text_tower(tmp_path, DIM + 8)
    with pytest.raises(WeightsMismatch, match=f"{DIM} numbers.*{DIM + 8}"):
        page_encoder(f"{halves(name)[0]}+{wide}", EXACT)


@pytest.mark.parametrize("file", ["2_Dense/model.safetensors", "model.safetensors"])
def test_weights_that_the_text_model_lacks_are_never_random(name, tmp_path, file):
    image, text = halves(name)
    broken = drop_a_weight(Path(text), tmp_path / "broken", file)
    with pytest.raises(WeightsMismatch, match="lacks"):
        page_encoder(f"{image}+{broken}", EXACT).encode(TEXTS)


def test_halves_that_are_not_what_they_should_be_are_refused(name, checkpoint):
    image, text = halves(name)
    with pytest.raises(WeightsMismatch, match="no image tower"):
        page_encoder(f"minilm+{text}", EXACT)
    with pytest.raises(WeightsMismatch, match="is not a text model"):
        page_encoder(f"{image}+{checkpoint('clip')}", EXACT)
    with pytest.raises(UnknownModel, match="nonesuch"):
        page_encoder(f"{image}+nonesuch", EXACT)


def test_a_directory_may_have_a_plus_in_its_name(tmp_path, name):
    for one in ("c++", "c++/texts"):
        (tmp_path / one).mkdir()
    inside = tmp_path / "c++" / "texts"
    assert halves(str(inside)) is None
    assert halves(f"{inside}+{inside}") == (str(inside), str(inside))
    assert halves("clip-vit-b-32") is None


def test_a_directory_with_a_plus_beside_a_name_of_the_hub(tmp_path):
    directory = tmp_path / "c++" / "clip"
    directory.mkdir(parents=True)
    (tmp_path / "c").mkdir()  # what stands before the first plus is a directory too
    assert halves(f"{directory}+org/text") == (str(directory), "org/text")
    assert halves(f"org/image+{directory}") == ("org/image", str(directory))
    assert halves("c++/image+org/text") == ("c", "+/image+org/text")  # no directory: the first plus


def test_each_half_of_a_pair_has_its_revision():
    assert pinned("a/image+b/text", "123+456") == "a/image@123+b/text@456"
    assert pinned("a/image+b/text", "123+") == "a/image@123+b/text"
    assert pinned("a/image", "123") == "a/image@123"
    assert pinned("/data/image+/data/text", "") == "/data/image+/data/text"


def test_a_short_name_means_the_pair_of_the_hub():
    image, text = halves(FAMILY.checkpoints["clip-multilingual"].model)
    assert image == "sentence-transformers/clip-ViT-B-32"
    assert text == "sentence-transformers/clip-ViT-B-32-multilingual-v1"


def test_names_are_split_without_torch():
    code = "import sys, docrag.encode.registry; sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
