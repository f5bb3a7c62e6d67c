"""Images as models are sent them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from docrag.common.images import fit, jpeg_within

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 300, 3), np.uint8))


def opened(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg))


@pytest.mark.parametrize(("longest", "size"), [(0, (300, 400)), (400, (300, 400)), (200, (150, 200))])
def test_an_image_is_made_smaller_and_never_larger(longest: int, size: tuple[int, int]):
    assert fit(NOISE, longest).size == size


def test_a_thin_image_keeps_a_pixel():
    assert fit(Image.new("RGB", (1000, 1)), 10).size == (10, 1)


def test_a_jpeg_has_the_size_of_its_image_where_any_number_of_bytes_will_do():
    jpeg, pixels = jpeg_within(NOISE, quality=90)
    assert (opened(jpeg).size, opened(jpeg).format, pixels) == ((300, 400), "JPEG", 120_000)
    assert len(jpeg_within(NOISE, quality=30)[0]) < len(jpeg)


def test_a_jpeg_of_too_many_bytes_is_made_smaller_until_it_fits():
    whole, _ = jpeg_within(NOISE, quality=90)
    jpeg, pixels = jpeg_within(NOISE, quality=90, max_bytes=len(whole) // 3)
    assert len(jpeg) <= len(whole) // 3
    width, height = opened(jpeg).size
    assert pixels == width * height
    assert width / height == pytest.approx(0.75, abs=0.01)
