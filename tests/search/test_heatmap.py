"""Heatmaps of words: where they are bright, where they stay dark, and what is said where there are none."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pymupdf
import pytest
from PIL import Image

from docrag import Index
from docrag.errors import NotFound, QueryError
from docrag.search.heatmap import LONG_SIDE, Heatmap, WordMap, grid_shape, rasterise, scaled, word_vectors
from docrag.types import MultiVector
from tests.samples import make_image

FLASHES = "What do four red flashes mean?"


@pytest.fixture(scope="module")
def page(demo_index):
    return demo_index.search(FLASHES, k=1)[0]


@pytest.fixture(scope="module")
def flashes(demo_index, page) -> Heatmap:
    return demo_index.heatmap(page.page_id, FLASHES)


def at(grid: np.ndarray, box) -> np.ndarray:
    """The cells of a box."""
    rows, columns = grid.shape
    x0, y0, x1, y1 = box
    return grid[int(y0 * rows) : int(np.ceil(y1 * rows)), int(x0 * columns) : int(np.ceil(x1 * columns))]


def test_there_is_a_map_for_each_word_that_says_something(flashes, page):
    assert flashes.page_id == page.page_id
    assert [word.word for word in flashes.words] == ["four", "red", "flashes", "mean"]
    for word in flashes.words:
        assert word.grid.dtype == np.float32
        assert max(word.grid.shape) == LONG_SIDE
        assert (word.grid.min(), word.grid.max()) == (0, 1)


def test_a_word_is_brightest_where_it_stands(flashes, page):
    line = next(block for block in page.blocks if "red four" in " ".join(block.text.split()))
    for word in ("four", "red"):
        [found] = [one for one in flashes.words if one.word == word]
        assert at(found.grid, line.box).max() > 0.6  # the number of the page is a four, too
        assert found.similarity > 0.7
        assert (found.grid > 0.5).mean() < 0.02, "most of the page stays dark"


def test_blank_paper_is_dark(flashes):
    for word in flashes.words:
        assert not word.grid[int(0.75 * len(word.grid)) : int(0.9 * len(word.grid))].any()


def test_the_whole_is_the_mean_over_the_words(flashes):
    expected = sum(word.grid for word in flashes.words) / len(flashes.words)
    np.testing.assert_allclose(flashes.whole.grid, expected, atol=1e-6)
    assert flashes.whole.word == "four red flashes mean"


def test_the_png_is_the_grid_in_grey(flashes):
    word = flashes.words[0]
    content = word.png()
    assert len(content) < 3000
    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", word.grid.shape[::-1])
        np.testing.assert_array_equal(np.asarray(image), np.rint(word.grid * 255))


@pytest.mark.slow
def test_a_model_that_sees_has_a_map_of_its_patches(checkpoint, tmp_path):
    make_image(1).save(tmp_path / "picture.png")
    with Index.open(tmp_path / "index", late=checkpoint("colqwen2")) as index:
        assert not index.ingest(tmp_path / "picture.png").failures
        [hit] = index.search("blue boxes")
        found = index.heatmap(hit.page_id, "blue boxes ⛴️ blue")
    assert [word.word for word in found.words] == ["blue", "boxes", "⛴️"]
    for word in found.words:
        assert word.grid.max() == 1
        assert (word.grid == 0).mean() > 0.3, "half the patches are below the median"


@pytest.mark.slow
def test_what_cannot_be_shown_is_told(demo_index, page, tmp_path):
    for unknown in ("../../etc/passwd", page.page_id.replace(page.page_id[0], "0")):
        with pytest.raises(NotFound, match="no page"):
            demo_index.heatmap(unknown, "ferry")
    with pytest.raises(QueryError, match="empty"):
        demo_index.heatmap(page.page_id, "  \n")
    Image.new("RGB", (300, 400), "white").save(tmp_path / "blank.png")
    with Index.open(tmp_path / "index") as index:
        index.ingest(tmp_path / "blank.png")
        [blank] = index.search("ferry", mode="late")
        with pytest.raises(QueryError, match="has a position") as told:
            index.heatmap(blank.page_id, "ferry")
    assert "OCR" in told.value.hint


def test_a_query_without_words_is_one_map(demo_index, page):
    [word] = demo_index.heatmap(page.page_id, "?!").words
    assert word.word == "?!"
    assert word.grid.max() == 1


def test_the_pieces_of_a_word_are_one_and_a_plug_in_need_not_tell_words():
    rows = np.eye(4, dtype=np.float32) * np.array([[1], [2], [1], [5]], np.float32)
    told = word_vectors(MultiVector(rows, words=("ferry", "quay", "ferry", "")), "ferry quay")
    assert {word: len(vectors) for word, vectors in told.items()} == {"ferry": 2, "quay": 1}
    np.testing.assert_array_equal(told["quay"], np.eye(4, dtype=np.float32)[1:2])
    [(word, vectors)] = word_vectors(MultiVector(rows), "ferry quay").items()
    assert (word, vectors.shape) == ("ferry quay", (1, 4))


def test_what_does_not_stand_out_is_dark():
    assert not scaled(np.full((5, 2), 0.3, np.float32)).any()
    assert scaled(np.array([[0.4]], np.float32)).tolist() == [[1.0]]  # a single patch is the best one


def test_every_box_has_a_cell_and_the_best_of_two_counts():
    boxes = np.array([[0, 0, 1, 1], [0.999, 0.999, 1, 1], [0.5, 0, 0.5, 0.001]], np.float32)
    values = np.array([[0.2], [0.9], [0.1]], np.float32)
    [grid] = rasterise(values, boxes, (10, 5))
    assert grid.shape == (10, 5)
    assert grid[9, 4] == np.float32(0.9)
    assert np.count_nonzero(grid == np.float32(0.2)) == 49
    [grid] = rasterise(values[2:], boxes[2:], (10, 5))
    assert np.count_nonzero(grid) == 1


def test_patches_of_a_grid_tile_the_page():
    edges = np.linspace(0, 1, 8, dtype=np.float32)
    boxes = np.array([(x0, 0, x1, 1) for x0, x1 in pairwise(edges)], np.float32)
    [grid] = rasterise(np.arange(1, 8, dtype=np.float32)[:, None], boxes, grid_shape(300, 400))
    assert sorted(set(grid[0])) == list(range(1, 8))
    assert (np.diff(grid[0]) >= 0).all()


def test_a_map_of_one_grey_is_a_picture_too():
    assert WordMap("ferry", np.zeros((4, 3), np.float32), 0.1).png().startswith(b"\x89PNG")


def test_a_word_glows_within_its_own_line(page, flashes):
    """Cells as high as a line light up the space between two lines."""
    [red] = [word for word in flashes.words if word.word == "red"]
    with pymupdf.open(page.file) as file:
        paper = file[page.page - 1]
        stands = [(x0, y0, x1, y1) for x0, y0, x1, y1 in paper.search_for("red")]
        sides = np.array([paper.rect.width, paper.rect.height] * 2)
    bright = np.argwhere(red.grid > 0.95)[:, ::-1]
    assert len(bright)
    cells = np.hstack([bright, bright + 1]) / np.tile(red.grid.shape[::-1], 2)
    outer = np.array(stands) / sides + np.array([-1, -1, 1, 1]) / 300
    within = (cells[:, None, :2] >= outer[:, :2]) & (cells[:, None, 2:] <= outer[:, 2:])
    assert within.all(axis=2).any(axis=1).all()
