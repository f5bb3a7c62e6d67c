"""Pooling: fewer vectors per page, which the first stage of a search compares.

The vectors of a row, of a column, or of a cluster of similar vectors are replaced by their mean; pooling by
rows is that of Qdrant's tutorial. If a page has more vectors than Qdrant takes, means of neighbours are
stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from docrag.encode.vectors.ward import ward_clusters
from docrag.errors import PageFailed
from docrag.types import MAX_FLOATS, MultiVector, Pooling

ROW_GAP = 0.5
"""Two vectors are in the same row if their centres differ by less than this share of the median height."""
MAX_ROWS = 32
"""The most rows of a page: the prefetch finds almost as much as with one for each line (0.970 of the exact
ten best against 0.973 on the development set) at half the cost."""
MAX_HEIGHT_RATIO = 1.5
"""Neighbours whose heights differ by a larger factor belong to different lines: another tile, or the whole
page after its tiles."""


def pool_rows(page: MultiVector, most: int = MAX_ROWS) -> NDArray[np.float32]:
    """The normalised mean of each row of the page; vectors without a place on the page are kept as they are.

    The boxes alone determine the rows, so that grids of patches and words of a text are pooled in the same
    way.

    Args:
        page: (n, dim) vectors; all are kept if they have no boxes.
        most: The most rows; more rows are joined with their neighbours.

    Returns:
        (rows + vectors without a box, dim), rows L2-normalised.
    """
    placed, boxes, unplaced = _split_by_place(page)
    if boxes is None:
        return page.vectors
    return np.concatenate([_group_means(placed, rows_of(boxes), most), unplaced])


def pool_rows_and_columns(page: MultiVector, most: int = MAX_ROWS) -> NDArray[np.float32]:
    """The same, with the mean of each column after those of the rows.

    Returns:
        (rows + columns + vectors without a box, dim), L2-normalised.
    """
    placed, boxes, unplaced = _split_by_place(page)
    if boxes is None:
        return page.vectors
    rows = _group_means(placed, rows_of(boxes), most)
    columns = _group_means(placed, rows_of(boxes[:, [1, 0, 3, 2]]), most)  # x and y exchanged
    return np.concatenate([rows, columns, unplaced])


def pool_tokens(page: MultiVector, most: int = MAX_ROWS) -> NDArray[np.float32]:
    """The normalised mean of each cluster of similar vectors; vectors without a place on the page are kept.

    The clusters are those of colpali-engine's HierarchicalTokenPooler. A page of 1030 x 128 takes about a
    hundred times as long as pooling by rows.

    Args:
        page: (n, dim) vectors; all are pooled if they have no boxes.
        most: The most clusters.

    Returns:
        (clusters + vectors without a box, dim), L2-normalised.
    """
    placed, boxes, unplaced = _split_by_place(page)
    if boxes is None:
        placed = page.vectors
        unplaced = page.vectors[:0]
    return np.concatenate([_group_means(placed, clusters(placed, most), most), unplaced])


POOLINGS: Mapping[Pooling, Callable[[MultiVector], NDArray[np.float32]]] = {
    "rows": pool_rows,
    "rows+columns": pool_rows_and_columns,
    "tokens": pool_tokens,
}
"""The kinds of pooling by their name in a fingerprint."""


def fitted(page: MultiVector, floats: int = MAX_FLOATS) -> MultiVector:
    """The page as Qdrant takes it: if it has too many vectors, neighbours are replaced by their mean.

    Two, three or more neighbours are joined, as few as suffice, in the order in which the encoder gave them.
    A vector without a place on the page keeps its value and its position. The cost in quality was not
    measured.

    Args:
        page: (n, dim) vectors, with boxes or not.
        floats: The page gets fewer numbers than this.

    Returns:
        The same page if it fits, else (m, dim) vectors of length 1, with boxes around those that they
        replace.

    Raises:
        PageFailed: There are still too many when every line is one vector, or the vectors have no boxes.
    """
    most = (floats - 1) // page.vectors.shape[1]
    if len(page.vectors) <= most:
        return page
    if page.boxes is not None:
        for count in (2, 3, 4, 6, 8, 12, 16, 32, 64, 128):
            group = _group_neighbours(page.boxes, count)
            if group[-1] < most:
                return _join_groups(page, page.boxes, group)
    raise PageFailed(
        f"{len(page.vectors)} vectors of {page.vectors.shape[1]} floats, and Qdrant takes {most} at most",
        "use fewer: --max-patches or --resolution",
    )


def _group_neighbours(boxes: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """(n,) the group of each vector: up to `count` neighbours in a line."""
    x0 = boxes[:, 0]
    height = boxes[:, 3] - boxes[:, 1]
    middle = (boxes[:, 1] + boxes[:, 3]) / 2
    smaller = np.minimum(height[1:], height[:-1])
    larger = np.maximum(height[1:], height[:-1])
    # A vector without a place has NaN, which compares as false: it follows nothing, and nothing follows it.
    is_same_line = np.abs(np.diff(middle)) < ROW_GAP * smaller
    is_similar_height = larger < MAX_HEIGHT_RATIO * smaller
    follows = is_same_line & is_similar_height & (np.diff(x0) > 0)
    starts = np.flatnonzero(np.concatenate([[True], ~follows]))
    lengths = np.diff(np.append(starts, len(boxes)))
    position_in_line = np.arange(len(boxes)) - np.repeat(starts, lengths)
    return np.cumsum(position_in_line % count == 0) - 1


def _join_groups(page: MultiVector, boxes: NDArray[np.float32], group: NDArray[np.int64]) -> MultiVector:
    """Each group as the mean of its vectors, in the box around their boxes."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    sums = sums_of(page.vectors, group)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    # A single vector stays the same to the last bit. Opposite vectors have no mean: the first replaces them.
    alone = np.bincount(group)[:, None] == 1
    vectors = np.where(alone | (lengths < 1e-6), page.vectors[starts], sums / np.maximum(lengths, 1e-12))
    top_left = np.minimum.reduceat(boxes[:, :2], starts)
    bottom_right = np.maximum.reduceat(boxes[:, 2:], starts)
    joined_boxes = np.concatenate([top_left, bottom_right], axis=1)
    return replace(page, vectors=vectors.astype(np.float32), boxes=joined_boxes)


def clusters(vectors: NDArray[np.float32], most: int) -> NDArray[np.int64]:
    """Clusters of similar vectors: Ward's method on the distances (1 - cosine) of each vector to all others.

    Args:
        vectors: (n, dim) of length 1, n >= 1.
        most: The most clusters.

    Returns:
        (n,) cluster numbers from 0, without gaps.
    """
    if len(vectors) <= most:
        return np.arange(len(vectors))
    rows = 1 - (vectors @ vectors.T).astype(np.float64)
    lengths = np.einsum("ij,ij->i", rows, rows)
    return ward_clusters(np.maximum(lengths[:, None] + lengths - 2 * rows @ rows.T, 0), most)


def sums_of(vectors: NDArray[np.float32], group: NDArray[np.int64]) -> NDArray[np.float32]:
    """The sum of each group of vectors.

    Args:
        vectors: (n, dim)
        group: (n,) numbers from 0, without gaps.

    Returns:
        (groups, dim)
    """
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(int(group.max()) + 1))
    sums: NDArray[np.float32] = np.add.reduceat(vectors[order], starts, axis=0)
    return sums


def rows_of(boxes: NDArray[np.float32]) -> NDArray[np.int64]:
    """The row of each box, counted from the top.

    Args:
        boxes: (n, 4) in page units, n >= 1, no NaN.

    Returns:
        (n,) row numbers from 0, without gaps.
    """
    middles = (boxes[:, 1] + boxes[:, 3]) / 2
    gap = ROW_GAP * float(np.median(boxes[:, 3] - boxes[:, 1]))
    order = np.argsort(middles, kind="stable")
    row = np.zeros(len(boxes), np.int64)
    start = middles[order[0]]
    current = 0
    for i in order:  # a new row begins where the next centre is a gap away from the first centre of the row
        if middles[i] - start > gap:
            current += 1
            start = middles[i]
        row[i] = current
    return row


def _split_by_place(
    page: MultiVector,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, NDArray[np.float32]]:
    """The vectors with a place on the page, their boxes (None if there are none), and the other vectors."""
    if page.boxes is None:
        return page.vectors[:0], None, page.vectors
    is_unplaced = np.isnan(page.boxes[:, 0])
    if is_unplaced.all():
        return page.vectors[:0], None, page.vectors
    return page.vectors[~is_unplaced], page.boxes[~is_unplaced], page.vectors[is_unplaced]


def _group_means(vectors: NDArray[np.float32], group: NDArray[np.int64], most: int) -> NDArray[np.float32]:
    """The normalised mean of each group; neighbouring groups are joined so that at most `most` remain."""
    sums = sums_of(vectors, group * most // max(most, int(group.max()) + 1))
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray((sums / np.maximum(lengths, 1e-12))[lengths[:, 0] > 1e-6], np.float32)
