"""The short way of images into a tower gives the pixels of the long one."""

from __future__ import annotations

import numpy as np
import pytest

from docrag.encode.checkpoints.torchvision import mend_torchvision
from docrag.encode.models.contrastive import pixel_inputs
from tests.samples import make_image

SIZES = [(300, 400), (401, 299), (32, 32), (31, 500), (1280, 7), (5, 3)]


@pytest.mark.parametrize("family", ["clip", "siglip"])
@pytest.mark.parametrize("size", SIZES)
def test_images_are_resized_as_their_processor_does(checkpoint, family, size):
    mend_torchvision()
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(checkpoint(family), backend="pil")
    images = [make_image(1, *size), make_image(2, *size)]
    expected = processor(images=images, return_tensors="pt")["pixel_values"]
    np.testing.assert_array_equal(pixel_inputs(processor, images)["pixel_values"], expected)


def test_what_is_not_to_be_resized_is_not(checkpoint):
    mend_torchvision()
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(checkpoint("clip"), backend="pil", do_resize=False)
    images = [make_image(1, 64, 64)]
    expected = processor(images=images, return_tensors="pt")["pixel_values"]
    np.testing.assert_array_equal(pixel_inputs(processor, images)["pixel_values"], expected)
