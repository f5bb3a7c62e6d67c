"""A checkpoint that its own library reads and saves again gives the same vectors."""

from __future__ import annotations

import numpy as np
import pytest

from docrag.encode.checkpoints.torchvision import mend_torchvision
from docrag.encode.registry import page_encoder
from tests.checkpoints.reference import CLASSES, options, reference
from tests.samples import picture_page

PAGES = [picture_page(1), picture_page(2, 500, 200)]
QUERIES = ["When does the ferry leave?", "pendulum"]
TWO_TOWERS = {
    "clip": ("CLIPModel", "AutoProcessor"),
    "siglip": ("SiglipModel", "AutoProcessor"),
    "siglip2": ("SiglipModel", "AutoProcessor"),
    "siglip2-naflex": ("Siglip2Model", "AutoProcessor"),
}


def save_again(family, path, directory):
    """By colpali-engine or transformers alone."""
    mend_torchvision()
    import transformers

    if family in CLASSES:
        parts = reference(family, path)
    else:
        parts = [getattr(transformers, name).from_pretrained(path) for name in TWO_TOWERS[family]]
    for part in parts:
        part.save_pretrained(directory)
    return str(directory)


@pytest.mark.parametrize("family", ["colpali", "colqwen2", "colidefics3", *TWO_TOWERS])
def test_saved_again_it_is_the_same(checkpoint, family, tmp_path):
    again = save_again(family, checkpoint(family), tmp_path / "again")
    before, after = (page_encoder(name, options()) for name in (checkpoint(family), again))
    assert after.spec.dim == before.spec.dim
    for encode, items in (("encode_pages", PAGES), ("encode_queries", QUERIES)):
        for one, other in zip(getattr(before, encode)(items), getattr(after, encode)(items), strict=True):
            np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-6)
            np.testing.assert_array_equal(one.boxes, other.boxes)
