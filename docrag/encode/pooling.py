"""Fewer vectors a page: the mean of each row, for the prefetch, as in Qdrant's PDF tutorial."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from docrag.types import MultiVector

ROW_GAP = 0.5
"""Two vectors stand in one row when their middles differ by less than this share of the median height."""
MOST_ROWS = 32
"""Rows of a page, at most: the prefetch finds as much as with one for each line (0.970 of the exact ten best
against 0.973 on the development set) at half the cost."""


def pool_rows(page: MultiVector, most: int = MOST_ROWS) -> NDArray[np.float32]:
    """The normalised mean of each row of the page, vectors that stand nowhere kept as they are.

    Rows follow from the boxes alone, so that grids of patches and words of a text are pooled alike.

    Args:
        page: (n, dim) vectors, with boxes or not (then all are kept).
        most: Rows are joined with their neighbours until there are no more than these.

    Returns:
        (rows + vectors without a box, dim), rows L2-normalised.
    """
    if page.boxes is None:
        return page.vectors
    nowhere = np.isnan(page.boxes[:, 0])
    vectors, boxes = page.vectors[~nowhere], page.boxes[~nowhere]
    if not len(vectors):
        return page.vectors
    row = np.minimum(rows_of(boxes), np.iinfo(np.int32).max)
    row = row * most // max(most, int(row.max()) + 1)
    sums = np.zeros((int(row.max()) + 1, vectors.shape[1]), np.float32)
    np.add.at(sums, row, vectors)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    means = (sums / np.maximum(lengths, 1e-12))[lengths[:, 0] > 1e-6]
    return np.concatenate([means, page.vectors[nowhere]])


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
