"""Mixed lists, labels and odd images: what the frame does for every two-tower family."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from docrag.encode.base import EncoderOptions, MixedEncoder
from docrag.encode.registry import page_encoder
from docrag.errors import ModelError
from tests.samples import make_image, picture_page

FAMILIES = ["clip", "clip-multilingual", "siglip", "siglip2", "siglip2-naflex"]
ALONE = 1e-5


@pytest.fixture(scope="module", params=FAMILIES)
def encoder(request: pytest.FixtureRequest):
    name = request.getfixturevalue("checkpoint")(request.param)
    return page_encoder(name, EncoderOptions(device="cpu", dtype="float32", batch_size=2))


def test_images_and_texts_come_back_in_the_order_given(encoder):
    items = [make_image(1), "a ferry", make_image(2), make_image(3), "an invoice", "a chart", make_image(4)]
    found = encoder.encode(items)
    assert isinstance(encoder, MixedEncoder)
    assert found.shape == (len(items), encoder.spec.dim)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    for item, row in zip(items, found, strict=True):
        np.testing.assert_allclose(encoder.encode([item])[0], row, atol=ALONE)


def test_an_image_is_itself_among_many_and_as_a_page_and_as_a_query(encoder):
    page = picture_page(1)
    [of_page] = encoder.encode_pages([page])
    image = Image.open(io.BytesIO(page.image.jpeg))
    [of_query] = encoder.encode_query_images([image])
    np.testing.assert_allclose(of_page.vectors, of_query.vectors, atol=ALONE)
    assert of_query.boxes is None
    assert of_page.boxes.tolist() == [[0, 0, 1, 1]]


def test_a_text_that_names_an_image_stays_a_text(encoder, tmp_path, monkeypatch):
    path = tmp_path / "photo.png"
    make_image(1).save(path)
    monkeypatch.setattr(Image, "open", _refuse)
    texts = [str(path), "https://example.org/photo.png", "data:image/png;base64,AAAA"]
    found = encoder.encode(texts)
    assert np.isfinite(found).all()
    for text, row in zip(texts, found, strict=True):
        [query] = encoder.encode_queries([text])
        np.testing.assert_allclose(query.vectors[0], row, atol=ALONE)
    image = encoder.encode([make_image(1)])[0]
    assert not np.allclose(found[0], image, atol=1e-2)


def _refuse(*_: object) -> None:
    raise AssertionError("a text was opened as an image")


def test_labels_are_probabilities(encoder):
    images = encoder.encode([make_image(1), make_image(2), make_image(3)])
    found = encoder.label(images, ["invoice", "chart", "photograph of a ferry"])
    assert found.shape == (3, 3)
    assert found.dtype == np.float32
    assert ((found >= 0) & (found <= 1)).all()
    if encoder.spec.family.startswith("clip"):
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    else:  # each label by itself, whatever the others are
        np.testing.assert_allclose(encoder.label(images, ["chart"])[:, 0], found[:, 1], rtol=1e-3)


def test_the_best_label_is_the_nearest_text(encoder):
    labels = ["invoice", "chart", "photograph of a ferry"]
    images = encoder.encode([make_image(1), make_image(5)])
    cosines = images @ encoder.encode(labels).T
    np.testing.assert_array_equal(encoder.label(images, labels).argmax(axis=1), cosines.argmax(axis=1))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK", "LA"])
def test_every_kind_of_image_is_seen_as_rgb(encoder, mode):
    odd = make_image(1).convert(mode)
    found = encoder.encode([odd, odd.convert("RGB")])
    np.testing.assert_allclose(found[0], found[1], atol=ALONE)


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 3), (2, 200), (200, 2)])
def test_tiny_and_narrow_images_have_a_vector(encoder, size):
    found = encoder.encode([Image.new("RGB", size, "red"), make_image(1)])
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_nothing_gives_nothing(encoder):
    assert encoder.encode([]).shape == (0, encoder.spec.dim)
    assert encoder.encode_query_images([]) == []
    assert encoder.label(encoder.encode([]), ["chart"]).shape == (0, 1)
    assert encoder.label(encoder.encode([make_image(1)]), []).shape == (1, 0)


def test_half_precision_gives_nearly_the_same(checkpoint):
    name = checkpoint("clip")
    whole = page_encoder(name, EncoderOptions(device="cpu", dtype="float32"))
    half = page_encoder(name, EncoderOptions(device="cpu", dtype="bfloat16"))
    items = [make_image(1), "a ferry"]
    found = half.encode(items)
    assert found.dtype == np.float32
    assert (np.sum(whole.encode(items) * found, axis=1) > 0.99).all()


@pytest.mark.slow
def test_memory_that_runs_out_costs_no_item(checkpoint, monkeypatch):
    import torch

    encoder = page_encoder(checkpoint("clip"), EncoderOptions(device="cpu", dtype="float32", batch_size=8))
    items = [make_image(i) for i in range(5)] + ["a ferry"] * 3
    whole = encoder.encode(items)
    towers = encoder.towers
    for name in ("encode_images", "encode_texts"):
        monkeypatch.setattr(towers, name, _small_memory(getattr(towers, name), torch.OutOfMemoryError))
    np.testing.assert_allclose(encoder.encode(items), whole, atol=ALONE)
    monkeypatch.setattr(towers, "encode_texts", _small_memory(towers.encode_texts, MemoryError, room=0))
    with pytest.raises(ModelError, match="memory"):
        encoder.encode(["a ferry"])


def _small_memory(tower, error: type[Exception], room: int = 2):
    def encode(batch):
        if len(batch) > room:
            raise error("no memory left")
        return tower(batch)

    return encode
