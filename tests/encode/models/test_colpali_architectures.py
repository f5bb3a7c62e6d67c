"""The architectures of colpali-engine: where their patches are, and what their options do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from docrag.encode.models.colpali import ARCHITECTURES, architecture_of
from docrag.encode.registry import page_encoder
from docrag.encode.vectors.grid import grid_boxes
from docrag.errors import SettingsError
from tests.checkpoints.reference import CLASSES, FULL, images_of, options, patches, reference
from tests.samples import make_image, picture_page

PAGES = [picture_page(1)]
SHAPES = [(300, 400), (400, 300), (256, 256), (600, 40), (40, 600), (30, 30), (3000, 10), (10, 3000)]
"""Widths and heights; the last two are thinner than Qwen's image processor takes."""


def test_dimensions_come_from_the_architecture_or_the_configuration(checkpoint):
    dims = {family: page_encoder(checkpoint(family), options()).spec.dim for family in FULL}
    assert (dims.pop("colqwen3"), dims.pop("colqwen3.5")) == (320, 48)
    assert set(dims.values()) == {128}


def test_pages_are_wanted_as_large_as_the_model_sees_them(checkpoint):
    sides = {family: page_encoder(checkpoint(family), options()).spec.image_side for family in FULL}
    assert sides["colidefics3"] == sides["colmodernvbert"] == 256
    assert sides["colpali"] == 2 * 32  # the short side of an A4 page is stretched to 32, not blown up
    assert sides["colqwen2"] == 1280
    assert page_encoder(checkpoint("colqwen2"), options(max_patches=4096)).spec.image_side > 2000


@pytest.mark.parametrize("family", FULL)
def test_patches_cover_the_page_once_whatever_its_shape(loaded, family):
    pages = [picture_page(1, *size) for size in SHAPES]
    for page in loaded(family).encode_pages(pages):
        boxes = patches(page)
        columns, rows = (len(np.unique(boxes[:, axis].round(5))) for axis in (0, 1))
        assert columns * rows == len(boxes)
        places = {tuple(box) for box in boxes.round(4).tolist()}
        assert places == {tuple(box) for box in grid_boxes(columns, rows).round(4).tolist()}


@pytest.mark.parametrize(("family", "side"), [("colpali", 4), ("colgemma3", 4)])
def test_fixed_grids(loaded, family, side):
    [page] = loaded(family).encode_pages([picture_page(1, 500, 200)])
    np.testing.assert_array_equal(patches(page), grid_boxes(side, side))


@pytest.mark.parametrize("family", ["colqwen2", "colqwen2.5", "colqwen3", "colqwen3.5"])
def test_qwen_grids_follow_the_shape_of_the_page(loaded, family):
    wide, tall = loaded(family).encode_pages([picture_page(1, 600, 200), picture_page(1, 200, 600)])
    assert len(patches(wide)) == len(patches(tall)) <= 64
    (width, height) = np.ptp(patches(wide)[0].reshape(2, 2), axis=0)
    assert height / width == pytest.approx(3, rel=0.2)  # square patches of a page that is three times as wide
    np.testing.assert_allclose(patches(wide), patches(wide)[np.lexsort(patches(wide).T[[0, 1]])])


@pytest.mark.parametrize("family", ["colidefics3", "colmodernvbert"])
def test_tiles_are_where_the_library_puts_them(checkpoint, loaded, family):
    _, processor = reference(family, checkpoint(family))
    [page] = loaded(family).encode_pages([picture_page(1, 400, 160)])
    inputs = images_of(processor, [make_image(1, 400, 160)])
    local = processor.get_local_image_mask(inputs)[0]
    assert int(local.sum()) == len(patches(page)) == 4 * 2 * 16
    np.testing.assert_array_equal(local.numpy(), ~np.isnan(page.boxes[:, 0]))  # the whole page has no place
    # The library rearranges (index of the vector) to (column, row); each must have the box of that place.
    numbered = torch.arange(len(page.boxes))[:, None]
    arranged = processor.rearrange_image_embeddings(numbered, local, (16, 8))[:, :, 0].T.reshape(-1)
    np.testing.assert_allclose(page.boxes[arranged.numpy()], grid_boxes(16, 8), atol=1e-6)


@pytest.mark.parametrize("family", ["colidefics3", "colmodernvbert"])
def test_a_page_of_one_tile_has_a_place(checkpoint, family):
    [page] = page_encoder(checkpoint(family), options(resolution=64)).encode_pages(PAGES[:1])
    np.testing.assert_array_equal(patches(page), grid_boxes(4, 4))


@pytest.mark.parametrize("at", [(0, 0), (3, 1), (1, 1)])
def test_what_changes_in_a_tile_changes_the_pixels_of_that_tile(checkpoint, at):
    _, processor = reference("colidefics3", checkpoint("colidefics3"))
    plain = Image.new("RGB", (256, 128), "white")
    marked = plain.copy()
    column, row = at
    marked.paste("black", (column * 64 + 20, row * 64 + 20, column * 64 + 40, row * 64 + 40))
    before, after = (images_of(processor, [image])["pixel_values"][0] for image in (plain, marked))
    changed = (before != after).flatten(1).any(dim=1)
    assert changed[:-1].nonzero().flatten().tolist() == [row * 4 + column]


@pytest.mark.parametrize("family", ["colqwen2", "colqwen2.5", "colqwen3", "colqwen3.5"])
@pytest.mark.parametrize("most", [4, 16, 100])
def test_qwen_gives_no_more_patches_than_asked(checkpoint, family, most):
    encoder = page_encoder(checkpoint(family), options(max_patches=most))
    counts = [
        len(patches(page)) for page in encoder.encode_pages([picture_page(1, *size) for size in SHAPES])
    ]
    assert max(counts) <= most
    assert max(counts) > most / 2


def test_qwen_resolution_is_the_long_side_of_the_image(checkpoint):
    encoder = page_encoder(checkpoint("colqwen2"), options(resolution=112))
    [page] = encoder.encode_pages([picture_page(1, 300, 400)])
    np.testing.assert_array_equal(patches(page), grid_boxes(3, 4))  # patches of 28 pixels
    [query] = encoder.encode_query_images([make_image(1, 300, 400)])
    assert len(query.vectors) == 12


@pytest.mark.parametrize("family", ["colqwen2", "colqwen2.5", "colqwen3", "colqwen3.5"])
def test_a_resolution_raises_the_bound_of_the_checkpoint(checkpoint, family):
    """It has 64 patches, of which a page of 390 pixels is no more than one of 300."""
    encoder = page_encoder(checkpoint(family), options(resolution=390))
    [page] = encoder.encode_pages([picture_page(1, 400, 400)])
    assert len(patches(page)) == {"colqwen2": 14, "colqwen2.5": 14}.get(family, 12) ** 2
    fewer = page_encoder(checkpoint(family), options(resolution=390, max_patches=9))
    [page] = fewer.encode_pages([picture_page(1, 400, 400)])
    assert len(patches(page)) == 9


@pytest.mark.parametrize("family", ["colidefics3", "colmodernvbert"])
@pytest.mark.parametrize(
    ("asked", "square"),
    [
        ({"resolution": 64}, 16),
        ({"resolution": 128}, 4 * 16),
        ({"resolution": 320}, 25 * 16),
        ({"max_patches": 16}, 16),
        ({"max_patches": 79}, 16),
        ({"max_patches": 80}, 4 * 16),
        ({"max_patches": 1000}, 16 * 16),
        ({"resolution": 128, "max_patches": 1000}, 4 * 16),
    ],
)
def test_tiles_are_as_many_as_asked(checkpoint, family, asked, square):
    encoder = page_encoder(checkpoint(family), options(**asked))
    [page] = encoder.encode_pages([picture_page(1, 400, 400)])
    assert len(patches(page)) == square
    whole = 0 if square == 16 else 16
    assert square + whole <= asked.get("max_patches", square + whole)
    assert encoder.spec.image_side == 64 * np.sqrt(
        square / 16
    )  # pages are drawn no larger than they are seen


@pytest.mark.parametrize(
    ("asked", "hint"), [({"max_patches": 15}, "--max-patches 16"), ({"resolution": 385}, "--resolution 384")]
)
def test_tiles_that_cannot_be_are_refused(checkpoint, asked, hint):
    with pytest.raises(SettingsError) as refused:
        page_encoder(checkpoint("colidefics3"), options(**asked))
    assert refused.value.hint.startswith(hint)


@pytest.mark.parametrize("family", ["colpali", "colgemma3"])
@pytest.mark.parametrize("option", ["resolution", "max_patches"])
def test_fixed_grids_refuse_options_before_the_weights_are_loaded(checkpoint, family, option):
    assert option not in architecture_of(CLASSES[family]).supported_options
    with pytest.raises(SettingsError, match="same square grid") as refused:
        page_encoder(checkpoint(family), options(**{option: 512}))
    assert "--" + option.replace("_", "-") in refused.value.hint


def test_the_other_architectures_take_both_options():
    options = {each.model_class: each.supported_options for each in ARCHITECTURES}
    assert not options.pop("ColPali")
    assert not options.pop("ColGemma3")
    assert set(options.values()) == {frozenset({"resolution", "max_patches"})}
