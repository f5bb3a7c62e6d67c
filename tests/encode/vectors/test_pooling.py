import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage

from docrag.encode.checkpoints.torchvision import mend_torchvision
from docrag.encode.vectors.pooling import (
    POOLINGS,
    clusters,
    fitted,
    pool_rows,
    pool_rows_and_columns,
    pool_tokens,
    rows_of,
)
from docrag.errors import PageFailed
from docrag.types import MultiVector
from tests.encode.maxsim import maxsim


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


def page_of_kinds() -> tuple[MultiVector, np.ndarray]:
    """A vector without a place, then 40 patches of 4 kinds, each near a direction; and the kinds."""
    rng = np.random.default_rng(0)
    kinds = rng.permutation(np.repeat(np.arange(4), 10))
    vectors = unit(np.eye(16)[kinds] + rng.normal(scale=0.05, size=(40, 16)))
    boxes = np.concatenate([np.full((1, 4), np.nan), grid(5, 8)]).astype(np.float32)
    return MultiVector(np.concatenate([unit(np.ones((1, 16))), vectors]), boxes), kinds


def test_columns_stand_beside_rows():
    page, _ = page_of_kinds()
    pooled = pool_rows_and_columns(page)
    placed = page.vectors[1:].reshape(5, 8, 16)
    expected = [unit(placed.mean(axis=1)), unit(placed.mean(axis=0)), page.vectors[:1]]
    np.testing.assert_allclose(pooled, np.concatenate(expected), atol=1e-6)


def test_clusters_are_of_like_vectors():
    page, kinds = page_of_kinds()
    found = clusters(page.vectors[1:], 4)
    assert sorted(set(found)) == [0, 1, 2, 3]
    assert len({*zip(found.tolist(), kinds.tolist(), strict=True)}) == 4


def test_each_cluster_becomes_its_normalised_mean():
    page, kinds = page_of_kinds()
    pooled = pool_tokens(page, most=4)
    np.testing.assert_array_equal(pooled[-1], page.vectors[0])
    means = unit(np.stack([page.vectors[1:][kinds == kind].mean(axis=0) for kind in range(4)]))
    nearest = (pooled[:-1] @ means.T).argmax(axis=1)
    np.testing.assert_allclose(pooled[:-1], means[nearest], atol=1e-6)
    assert sorted(nearest) == [0, 1, 2, 3]


@pytest.mark.parametrize("most", [1, 7, 32])
def test_clusters_are_those_of_colpali_engine(most: int):
    vectors = unit(np.random.default_rng(1).normal(size=(120, 8)))
    distances = 1 - vectors @ vectors.T
    expected = fcluster(linkage(distances, metric="euclidean", method="ward"), most, "maxclust")
    found = clusters(vectors, most)
    assert len({*zip(found.tolist(), expected.tolist(), strict=True)}) == len(set(expected))
    assert found.max() + 1 == len(set(expected))


@pytest.mark.parametrize("kind", POOLINGS)
def test_every_kind_gives_few_rows_of_length_1(kind: str):
    vectors = unit(np.random.default_rng(2).normal(size=(1030, 16)))
    boxes = np.concatenate([grid(32, 32), np.full((6, 4), np.nan)]).astype(np.float32)
    pooled = POOLINGS[kind](MultiVector(vectors, boxes))
    assert pooled.dtype == np.float32
    assert len(pooled) <= 2 * 32 + 6
    np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(pooled[-6:], vectors[-6:])


@pytest.mark.parametrize("kind", POOLINGS)
def test_a_page_of_one_vector_stays(kind: str):
    vectors = unit(np.ones((1, 4)))
    for boxes in (None, grid(1, 1), np.full((1, 4), np.nan, np.float32)):
        for pooled in POOLINGS[kind](MultiVector(vectors, boxes)):
            np.testing.assert_allclose(pooled, vectors[0], atol=1e-6)


def large(rows: int = 100, columns: int = 100, dim: int = 128) -> MultiVector:
    """A page of patches, with special tokens before, among and after them; neighbours are alike."""
    rng = np.random.default_rng(3)
    patches = np.repeat(rng.normal(size=(rows, columns // 4, dim)), 4, axis=1).reshape(-1, dim)
    vectors = unit(patches + 0.1 * rng.normal(size=patches.shape))
    special, nowhere = unit(rng.normal(size=(3, dim))), np.full((1, 4), np.nan)
    boxes, middle = grid(rows, columns), columns * rows // 2
    return MultiVector(
        np.concatenate([special[:1], vectors[:middle], special[1:2], vectors[middle:], special[2:]]),
        np.concatenate([nowhere, boxes[:middle], nowhere, boxes[middle:], nowhere]).astype(np.float32),
        summary=special[0],
    )


def test_a_page_that_fits_is_left_alone():
    page = large(rows=10)
    assert fitted(page) is page
    assert fitted(page, page.vectors.size + 1) is page
    assert len(fitted(page, page.vectors.size).vectors) < len(page.vectors)


def test_a_page_that_is_too_large_has_means_of_neighbours():
    page = large()
    fit = fitted(page)
    assert page.vectors.size > 2**20 > fit.vectors.size
    assert len(fit.vectors) == 5000 + 3
    assert fit.vectors.dtype == fit.boxes.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(fit.vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(
        fit.vectors[1], unit(page.vectors[1:3].sum(axis=0, keepdims=True))[0], atol=1e-6
    )
    np.testing.assert_allclose(fit.boxes[1], [0, 0, 0.02, 0.01], atol=1e-6)
    assert fit.summary is page.summary


def test_special_tokens_of_a_large_page_stay_as_and_where_they_are():
    page = large()
    fit = fitted(page)
    was, now = (np.flatnonzero(np.isnan(one.boxes[:, 0])) for one in (page, fit))
    assert now.tolist() == [0, 2501, 5002]
    np.testing.assert_array_equal(fit.vectors[now], page.vectors[was])


def test_boxes_of_a_large_page_cover_what_they_covered():
    fit = fitted(large(), floats=1000 * 128)  # a tenth
    assert len(fit.vectors) < 1000
    placed = fit.boxes[~np.isnan(fit.boxes[:, 0])]
    areas = (placed[:, 2] - placed[:, 0]) * (placed[:, 3] - placed[:, 1])
    assert areas.sum() == pytest.approx(1, abs=1e-4)
    assert (placed[:, 3] - placed[:, 1]).max() == pytest.approx(0.01, abs=1e-6)  # never two lines


def test_exact_search_finds_nearly_as_much_in_a_large_page():
    page = large()
    query = unit(page.vectors[[500, 3333, 9000]] + 0.02)
    assert maxsim(query, fitted(page).vectors) == pytest.approx(maxsim(query, page.vectors), rel=0.1)


def test_tiles_and_the_whole_page_beside_them_are_not_joined():
    tile, half = grid(4, 4), np.array([0.5, 1, 0.5, 1], np.float32)
    boxes = np.concatenate([tile * half, tile * half + [0.5, 0, 0.5, 0], tile]).astype(np.float32)
    vectors = unit(np.random.default_rng(4).normal(size=(48, 8)))
    fit = fitted(MultiVector(vectors, boxes), 13 * 8)
    assert len(fit.vectors) == 12
    np.testing.assert_allclose(fit.boxes[4], [0.5, 0, 1, 0.25], atol=1e-6)
    np.testing.assert_allclose(fit.boxes[8], [0, 0, 1, 0.25], atol=1e-6)


def test_opposite_neighbours_leave_no_nan():
    vectors = np.tile(np.array([[1, 0], [-1, 0]], np.float32), (8, 1))
    fit = fitted(MultiVector(vectors, grid(4, 4)), 9 * 2)
    np.testing.assert_array_equal(fit.vectors, np.tile([[1, 0]], (8, 1)))


@pytest.mark.parametrize("boxes", [None, np.full((9000, 4), np.nan, np.float32), grid(9000, 1)], ids=str)
def test_what_cannot_be_pooled_is_refused(boxes: np.ndarray | None):
    vectors = unit(np.random.default_rng(5).normal(size=(9000, 128)))
    with pytest.raises(PageFailed, match="9000 vectors of 128 floats, and Qdrant takes 8191"):
        fitted(MultiVector(vectors, boxes))


def test_clusters_are_those_of_colpali_engines_own_pooler():
    mend_torchvision()
    pooler = pytest.importorskip("colpali_engine.compression").HierarchicalTokenPooler()
    vectors = unit(np.random.default_rng(6).normal(size=(120, 16)))
    theirs = pooler.pool_embeddings([torch.from_numpy(vectors)], pool_factor=4)[0].numpy()
    ours = pool_tokens(MultiVector(vectors), most=30)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose((ours @ theirs.T).max(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose((ours @ theirs.T).max(axis=0), 1, atol=1e-5)
