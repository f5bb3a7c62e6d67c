"""Crops of a page at its matched regions."""

from __future__ import annotations

import pytest
from PIL import Image, ImageDraw

from docrag.demo import QUESTIONS
from docrag.search.crops import crop_boxes, crop_regions
from docrag.types import Region

WHITE, RED, BLUE = (255, 255, 255), (255, 0, 0), (0, 0, 255)


def region(*box: float) -> Region:
    return Region(box, 0.5, "")


@pytest.fixture
def page() -> Image.Image:
    """200 by 400 pixels: a red box above, a blue one below."""
    image = Image.new("RGB", (200, 400), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((20, 40, 99, 79), fill="red")
    draw.rectangle((100, 200, 179, 279), fill="blue")
    return image


def test_a_crop_is_the_region_and_nothing_else(page):
    [crop] = crop_regions(page, [region(0.1, 0.1, 0.5, 0.2)], margin=0)
    assert crop.size == (80, 40)
    assert crop.getcolors() == [(80 * 40, RED)]


def test_the_margin_is_a_share_of_the_page_and_ends_at_its_edges(page):
    [crop] = crop_regions(page, [region(0.1, 0.1, 0.5, 0.2)], margin=0.05)
    assert crop.size == (100, 80)
    [corner] = crop_regions(page, [region(0.0, 0.0, 0.5, 0.2)], margin=0.05)
    assert corner.size == (110, 100)


def test_crops_come_in_reading_order_whatever_matched_best(page):
    crops = crop_regions(page, [region(0.5, 0.5, 0.9, 0.7), region(0.1, 0.1, 0.5, 0.2)], margin=0)
    assert [crop.getpixel((5, 5)) for crop in crops] == [RED, BLUE]


def test_side_by_side_the_left_one_comes_first():
    assert crop_boxes([(0.6, 0.1, 0.9, 0.4), (0.1, 0.15, 0.4, 0.3)], margin=0)[0][0] == 0.1


def test_overlapping_regions_make_one_crop(page):
    crops = crop_regions(page, [region(0.1, 0.1, 0.5, 0.2), region(0.2, 0.15, 0.6, 0.3)], margin=0)
    assert [crop.size for crop in crops] == [(100, 80)]


def test_margins_join_what_lies_close_together(page):
    close = [region(0.1, 0.1, 0.9, 0.2), region(0.1, 0.22, 0.9, 0.3)]
    assert len(crop_regions(page, close, margin=0)) == 2
    assert len(crop_regions(page, close, margin=0.02)) == 1


def test_a_crop_that_grew_over_another_takes_it_in():
    first, second = (0.1, 0.1, 0.2, 0.2), (0.6, 0.6, 0.7, 0.7)
    bridge = (0.15, 0.15, 0.65, 0.65)
    assert crop_boxes([first, second, bridge], margin=0) == [(0.1, 0.1, 0.7, 0.7)]


def test_only_the_best_regions_count(page):
    regions = [region(0.5, 0.5, 0.9, 0.7), region(0.1, 0.1, 0.5, 0.2)]
    [crop] = crop_regions(page, regions, margin=0, most=1)
    assert crop.getpixel((5, 5)) == BLUE


@pytest.mark.parametrize("regions", [[], [region(0.5, 0.5, 0.5, 0.5)]], ids=["none", "without area"])
def test_a_page_without_regions_is_given_whole(page, regions):
    assert crop_regions(page, regions, margin=0) == [page]


def test_a_thin_region_keeps_its_pixels(page):
    [crop] = crop_regions(page, [region(0.101, 0.101, 0.102, 0.102)], margin=0)
    assert crop.size == (1, 1)
    assert crop.getpixel((0, 0)) == RED


def test_the_crops_of_a_hit_are_less_than_its_page(demo_index):
    hit = demo_index.search(QUESTIONS[0].text, k=1)[0]
    page = hit.image()
    crops = crop_regions(page, hit.regions)
    assert 0 < sum(crop.width * crop.height for crop in crops) < page.width * page.height
