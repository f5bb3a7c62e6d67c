"""Grids that follow the shape of the page, with sentence-transformers; see test_colpali_architectures too."""

from __future__ import annotations

import numpy as np
import pytest

from docrag.encode.base import EncoderOptions
from docrag.encode.registry import page_encoder
from docrag.errors import SettingsError
from tests.samples import make_image, picture_page

FAMILIES = ["colpali-hf", "colqwen2-hf", "multi-vector"]


def open_float32(name, **options):
    return page_encoder(str(name), EncoderOptions(device="cpu", dtype="float32", **options))


@pytest.mark.parametrize(
    ("asked", "square"),
    [
        ({"resolution": 32}, 16),
        ({"resolution": 192}, 36 * 16),
        ({"max_patches": 79}, 16),
        ({"max_patches": 80}, 4 * 16),
        ({"max_patches": 8000, "resolution": 64}, 4 * 16),
    ],
)
def test_tiles_are_as_many_as_asked(checkpoint, asked, square):
    encoder = open_float32(checkpoint("multi-vector"), **asked)
    [page] = encoder.encode_pages([picture_page(1, 400, 400)])
    assert (~np.isnan(page.boxes[:, 0])).sum() == square
    assert encoder.spec.image_side == 8 * np.sqrt(square)  # pages are drawn no larger than they are seen


@pytest.mark.parametrize(
    ("asked", "hint"), [({"max_patches": 15}, "--max-patches 16"), ({"resolution": 193}, "--resolution 192")]
)
def test_tiles_that_cannot_be_are_refused(checkpoint, asked, hint):
    with pytest.raises(SettingsError) as refused:
        open_float32(checkpoint("multi-vector"), **asked)
    assert refused.value.hint.startswith(hint)


def test_more_patches_are_seen_on_a_larger_page(checkpoint):
    """A page of 1280 pixels has 1550 patches at most; --max-patches alone must not stop there."""
    name = checkpoint("colqwen2-hf")
    assert open_float32(name).spec.image_side == 1280
    assert open_float32(name, max_patches=4096).spec.image_side == round(1.2 * 28 * 64)


def test_a_resolution_raises_the_bound_of_the_checkpoint(checkpoint):
    [free] = open_float32(checkpoint("colqwen2-hf")).encode_pages([picture_page(1, 300, 400)])
    assert (~np.isnan(free.boxes[:, 0])).sum() <= 64
    encoder = open_float32(checkpoint("colqwen2-hf"), resolution=390)
    [page] = encoder.encode_pages([picture_page(1, 300, 400)])
    assert (~np.isnan(page.boxes[:, 0])).sum() == 14 * 10  # 390 by 292 pixels in patches of 28


@pytest.mark.parametrize("family", FAMILIES)
def test_a_page_may_be_a_thin_strip(checkpoint, family):
    """Qwen's image processor fails where a page is more than 200 times longer than wide, or would be."""
    encoder = open_float32(checkpoint(family))
    for page in encoder.encode_pages([picture_page(1, 1280, 4), picture_page(1, 3, 1280)]):
        placed = page.boxes[~np.isnan(page.boxes[:, 0])]
        np.testing.assert_allclose(np.ptp(placed.reshape(-1, 2), axis=0), 1)
    [query] = encoder.encode_query_images([make_image(1, 3000, 10)])
    assert len(query.vectors)


def test_a_thin_strip_keeps_within_the_patches_asked_for(checkpoint):
    encoder = open_float32(checkpoint("colqwen2-hf"), max_patches=12)
    for page in encoder.encode_pages([picture_page(1, 3000, 10), picture_page(1, 10, 3000)]):
        assert 4 <= (~np.isnan(page.boxes[:, 0])).sum() <= 12
