import numpy as np
import pytest

from docrag.encode.pooling import pool_rows, rows_of
from docrag.types import MultiVector


def grid(rows: int, columns: int) -> np.ndarray:
    """Boxes of a grid of patches in row-major order."""
    y, x = np.divmod(np.arange(rows * columns), columns)
    return np.stack([x / columns, y / rows, (x + 1) / columns, (y + 1) / rows], axis=1).astype(np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_rows_of_a_grid_are_its_rows():
    assert rows_of(grid(3, 4)).tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_words_of_a_line_are_one_row_though_their_heights_differ():
    boxes = np.array([[0, 0.10, 0.1, 0.12], [0.2, 0.103, 0.3, 0.121], [0, 0.13, 0.1, 0.15]], np.float32)
    assert rows_of(boxes).tolist() == [0, 0, 1]


def test_order_of_the_boxes_does_not_matter():
    boxes = grid(5, 3)
    order = np.random.default_rng(0).permutation(len(boxes))
    assert rows_of(boxes[order]).tolist() == rows_of(boxes)[order].tolist()


def test_each_row_becomes_its_normalised_mean():
    vectors = unit(np.random.default_rng(0).normal(size=(6, 8)))
    pooled = pool_rows(MultiVector(vectors, grid(2, 3)))
    expected = unit(np.stack([vectors[:3].mean(axis=0), vectors[3:].mean(axis=0)]))
    np.testing.assert_allclose(pooled, expected, atol=1e-6)


def test_vectors_that_stand_nowhere_are_kept_as_they_are():
    vectors = unit(np.random.default_rng(0).normal(size=(5, 8)))
    boxes = np.concatenate([np.full((1, 4), np.nan), grid(2, 2)]).astype(np.float32)
    pooled = pool_rows(MultiVector(vectors, boxes))
    assert pooled.shape == (3, 8)
    np.testing.assert_array_equal(pooled[-1], vectors[0])


@pytest.mark.parametrize("boxes", [None, np.full((2, 4), np.nan, np.float32)], ids=["none", "nowhere"])
def test_without_boxes_nothing_is_pooled(boxes: np.ndarray | None):
    vectors = unit(np.ones((2, 4)))
    np.testing.assert_array_equal(pool_rows(MultiVector(vectors, boxes)), vectors)


def test_many_rows_are_joined():
    vectors = unit(np.random.default_rng(0).normal(size=(300, 8)))
    assert len(pool_rows(MultiVector(vectors, grid(300, 1)), most=20)) <= 20


def test_opposite_vectors_of_a_row_leave_no_nan():
    vectors = np.array([[1, 0], [-1, 0], [0, 1]], np.float32)
    boxes = np.array([[0, 0, 0.5, 0.1], [0.5, 0, 1, 0.1], [0, 0.5, 1, 0.6]], np.float32)
    np.testing.assert_array_equal(pool_rows(MultiVector(vectors, boxes)), [[0, 1]])
