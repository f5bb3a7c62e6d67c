"""Fewer vectors a page: means of rows, columns or like ones, which the first stage of a search compares.

Rows are those of Qdrant's tutorial. Means of neighbours are stored where a page has more than Qdrant takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from docrag.errors import PageFailed
from docrag.types import MAX_FLOATS, MultiVector, Pooling

ROW_GAP = 0.5
"""Two vectors stand in one row when their middles differ by less than this share of the median height."""
MOST_ROWS = 32
"""Rows of a page, at most: the prefetch finds as much as with one for each line (0.970 of the exact ten best
against 0.973 on the development set) at half the cost."""

LIKE_HEIGHT = 1.5
"""Neighbours whose heights differ by a larger factor are of different lines: another tile, or the whole page
beside its tiles."""


def pool_rows(page: MultiVector, most: int = MOST_ROWS) -> NDArray[np.float32]:
    """The normalised mean of each row of the page, vectors that stand nowhere kept as they are.

    Rows follow from the boxes alone, so that grids of patches and words of a text are pooled alike.

    Args:
        page: (n, dim) vectors, with boxes or not (then all are kept).
        most: Rows are joined with their neighbours until there are no more than these.

    Returns:
        (rows + vectors without a box, dim), rows L2-normalised.
    """
    placed, boxes, others = _parts(page)
    return page.vectors if boxes is None else np.concatenate([_means(placed, rows_of(boxes), most), others])


def pool_rows_and_columns(page: MultiVector, most: int = MOST_ROWS) -> NDArray[np.float32]:
    """The same, with the mean of each column beside those of the rows.

    Returns:
        (rows + columns + vectors without a box, dim), L2-normalised.
    """
    placed, boxes, others = _parts(page)
    if boxes is None:
        return page.vectors
    columns = rows_of(boxes[:, [1, 0, 3, 2]])
    return np.concatenate([_means(placed, rows_of(boxes), most), _means(placed, columns, most), others])


def pool_tokens(page: MultiVector, most: int = MOST_ROWS) -> NDArray[np.float32]:
    """The normalised mean of each cluster of vectors that are alike, those that stand nowhere kept.

    The clusters are those of colpali-engine's HierarchicalTokenPooler. A page of 1030 x 128 takes about a
    hundred times as long as with rows.

    Args:
        page: (n, dim) vectors; without boxes all are pooled.
        most: Clusters, at most.

    Returns:
        (clusters + vectors without a box, dim), L2-normalised.
    """
    placed, boxes, others = _parts(page)
    if boxes is None:
        placed, others = page.vectors, page.vectors[:0]
    return np.concatenate([_means(placed, clusters(placed, most), most), others])


POOLINGS: Mapping[Pooling, Callable[[MultiVector], NDArray[np.float32]]] = {
    "rows": pool_rows,
    "rows+columns": pool_rows_and_columns,
    "tokens": pool_tokens,
}
"""The kinds, by the name that a fingerprint gives them."""


def fitted(page: MultiVector, floats: int = MAX_FLOATS) -> MultiVector:
    """The page as Qdrant takes it: where it has too many vectors, neighbours in a line become their mean.

    Two, three or more of them, whatever is enough, in the order in which the encoder gave them; a vector that
    stands nowhere stays as it is, and where it is. What this costs in quality was not measured.

    Args:
        page: (n, dim) vectors, with boxes or not.
        floats: The page gets fewer than these.

    Returns:
        The same page where it fits, else (m, dim) vectors of length 1 with boxes around what they stand for.

    Raises:
        PageFailed: There are still too many when every line is one vector, or nothing says where they stand.
    """
    most = (floats - 1) // page.vectors.shape[1]
    if len(page.vectors) <= most:
        return page
    if page.boxes is not None:
        for many in (2, 3, 4, 6, 8, 12, 16, 32, 64, 128):
            group = _neighbours(page.boxes, many)
            if group[-1] < most:
                return _joined(page, page.boxes, group)
    raise PageFailed(
        f"{len(page.vectors)} vectors of {page.vectors.shape[1]} floats, and Qdrant takes {most} at most",
        "take fewer: --max-patches or --resolution",
    )


def _neighbours(boxes: NDArray[np.float32], many: int) -> NDArray[np.int64]:
    """(n,) a number for each vector, rising by 1 where one does not go with those before it."""
    x0, height = boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    middle = (boxes[:, 1] + boxes[:, 3]) / 2
    smaller, larger = np.minimum(height[1:], height[:-1]), np.maximum(height[1:], height[:-1])
    # NaN, of a vector that stands nowhere, follows nothing and is followed by nothing.
    follows = (
        (np.abs(np.diff(middle)) < ROW_GAP * smaller) & (np.diff(x0) > 0) & (larger < LIKE_HEIGHT * smaller)
    )
    starts = np.flatnonzero(np.concatenate([[True], ~follows]))
    lengths = np.diff(np.append(starts, len(boxes)))
    place = np.arange(len(boxes)) - np.repeat(starts, lengths)
    return np.cumsum(place % many == 0) - 1


def _joined(page: MultiVector, boxes: NDArray[np.float32], group: NDArray[np.int64]) -> MultiVector:
    """Each group as the mean of its vectors, in the box around theirs."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    sums = sums_of(page.vectors, group)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    # One vector stays to the last bit. Opposite ones have no mean: the first speaks for them.
    alone = np.bincount(group)[:, None] == 1
    vectors = np.where(alone | (lengths < 1e-6), page.vectors[starts], sums / np.maximum(lengths, 1e-12))
    around = [np.minimum.reduceat(boxes[:, :2], starts), np.maximum.reduceat(boxes[:, 2:], starts)]
    return replace(page, vectors=vectors.astype(np.float32), boxes=np.concatenate(around, axis=1))


def clusters(vectors: NDArray[np.float32], most: int) -> NDArray[np.int64]:
    """Which vectors are alike: Ward's method on how far they are from all of them, by 1 - cosine.

    Args:
        vectors: (n, dim) of length 1, n >= 1.
        most: Clusters, at most.

    Returns:
        (n,) cluster numbers from 0, without gaps.
    """
    if len(vectors) <= most:
        return np.arange(len(vectors))
    from scipy.cluster.hierarchy import fcluster, linkage

    apart = 1 - (vectors @ vectors.T).astype(np.float64)
    # scipy would take the distances between these rows one number at a time.
    squares = np.einsum("ij,ij->i", apart, apart)
    between = np.sqrt(np.maximum(squares[:, None] + squares - 2 * apart @ apart.T, 0))
    tree = linkage(between[np.triu_indices(len(vectors), 1)], method="ward")
    return np.unique(fcluster(tree, most, "maxclust"), return_inverse=True)[1].astype(np.int64)


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
    """The row, counted from the top, in which each box stands.

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
    for i in order:  # a row ends where the next middle is a gap away from the row's first
        if middles[i] - start > gap:
            current += 1
            start = middles[i]
        row[i] = current
    return row


def _parts(
    page: MultiVector,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, NDArray[np.float32]]:
    """The vectors that stand somewhere, their boxes (None where there are none), and the other vectors."""
    if page.boxes is None or (nowhere := np.isnan(page.boxes[:, 0])).all():
        return page.vectors[:0], None, page.vectors
    return page.vectors[~nowhere], page.boxes[~nowhere], page.vectors[nowhere]


def _means(vectors: NDArray[np.float32], group: NDArray[np.int64], most: int) -> NDArray[np.float32]:
    """The normalised mean of each group, neighbours joined until there are no more than `most`."""
    sums = sums_of(vectors, group * most // max(most, int(group.max()) + 1))
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray((sums / np.maximum(lengths, 1e-12))[lengths[:, 0] > 1e-6], np.float32)
