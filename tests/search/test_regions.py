import numpy as np
import pytest
from PIL import Image

from docrag.search.crops import mark_regions
from docrag.search.regions import matched_regions, owners
from docrag.types import Block, Region

TOP = Block("top", (0.1, 0.1, 0.9, 0.3))
BOTTOM = Block("bottom", (0.1, 0.6, 0.9, 0.8))
BOXES = np.array([[0.2, 0.15, 0.3, 0.2], [0.2, 0.7, 0.3, 0.75], [np.nan] * 4, [0, 0.95, 0.1, 1]], np.float32)
PATCHES = np.eye(4, dtype=np.float32)


def test_each_box_belongs_to_the_smallest_block_around_its_middle():
    page = (0.0, 0.0, 1.0, 0.9)
    blocks = np.array([page, TOP.box, BOTTOM.box], np.float32)
    assert owners(BOXES, blocks).tolist() == [1, 2, -1, -1]


def test_the_block_with_the_matching_vector_comes_first():
    regions = matched_regions(PATCHES[1:2], PATCHES, BOXES, [TOP, BOTTOM])
    assert [region.text for region in regions] == ["bottom", "top", ""]
    assert regions[0].score == pytest.approx(1.0)
    assert regions[0].box == BOTTOM.box


def test_the_score_is_the_mean_of_the_best_similarities():
    query = np.array([[1, 0, 0, 0], [0.6, 0.8, 0, 0]], np.float32)
    regions = matched_regions(query, PATCHES, BOXES, [TOP, BOTTOM], most=2)
    assert [(region.text, round(region.score, 5)) for region in regions] == [("top", 0.8), ("bottom", 0.4)]


def test_blocks_without_vectors_give_nothing():
    empty = Block("empty", (0.0, 0.4, 1.0, 0.5))
    found = matched_regions(PATCHES[:1], PATCHES[:1], BOXES[:1], [empty, TOP])
    assert [region.text for region in found] == ["top"]


def test_what_stands_outside_all_blocks_is_a_region_without_text():
    corner = matched_regions(PATCHES[3:], PATCHES, BOXES, [TOP, BOTTOM])[0]
    assert corner.text == ""
    assert corner.box[0] == 0
    assert corner.box[3] == 1
    photograph = matched_regions(PATCHES[:1], PATCHES, BOXES, [])
    assert len(photograph) == 3
    x0, y0, x1, y1 = photograph[0].box
    assert x0 <= 0.25 <= x1
    assert y0 <= 0.175 <= y1


def test_vectors_that_stand_nowhere_give_no_regions():
    assert matched_regions(PATCHES[:1], PATCHES[2:3], BOXES[2:3], [TOP]) == ()


def test_no_more_than_the_most_are_given():
    assert len(matched_regions(PATCHES[:1], PATCHES, BOXES, [TOP, BOTTOM], most=1)) == 1


def test_marking_changes_the_region_and_nothing_else():
    page = Image.new("RGB", (400, 500), "white")
    marked = mark_regions(page, [Region(TOP.box, 0.8, "top"), Region(BOTTOM.box, 0.4, "bottom")])
    assert page.getpixel((200, 100)) == (255, 255, 255)
    best, second, outside = (marked.getpixel(point) for point in ((200, 100), (200, 350), (200, 250)))
    assert outside == (255, 255, 255)
    assert sum(best) < sum(second) < sum(outside)


def test_marking_without_regions_is_a_copy():
    page = Image.new("L", (40, 50), 200)
    assert mark_regions(page, []).getpixel((5, 5)) == (200, 200, 200)
