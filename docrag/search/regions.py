"""Where on a page the vectors of a query found their match."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from docrag.types import Block, Region

COLUMNS, ROWS = 4, 6
CELLS = tuple(
    Block("", (column / COLUMNS, row / ROWS, (column + 1) / COLUMNS, (row + 1) / ROWS))
    for row in range(ROWS)
    for column in range(COLUMNS)
)
"""A grid over the page, for patches outside all blocks of text."""


def matched_regions(
    query: NDArray[np.float32],
    patches: NDArray[np.float32],
    boxes: NDArray[np.float32],
    blocks: Sequence[Block],
    most: int = 3,
) -> tuple[Region, ...]:
    """The parts of a page ranked by MaxSim between the query and the vectors inside each part.

    Args:
        query: (q, dim)
        patches: (n, dim)
        boxes: (n, 4) positions of the patches in page units, NaN rows for those without a position.
        blocks: The blocks of the page, in reading order.
        most: The largest number of regions to return.

    Returns:
        The regions, best first; empty if no patch has a position. Patches outside all blocks (pictures,
        charts, a whole page without text) belong to regions without text: the cells of a grid over the page.
    """
    if not len(query):
        return ()
    parts = [*blocks, *CELLS]
    outlines = np.array([part.box for part in parts], np.float32)
    owner = owners(boxes, outlines[: len(blocks)]) if blocks else np.full(len(boxes), -1)
    outside = (owner < 0) & ~np.isnan(boxes[:, 0])
    owner[outside] = len(blocks) + owners(boxes[outside], outlines[len(blocks) :])
    inside = owner >= 0
    if not inside.any():
        return ()
    order = np.argsort(owner[inside], kind="stable")
    held, starts = np.unique(owner[inside][order], return_index=True)  # parts that hold a patch
    best = np.maximum.reduceat((patches[inside] @ query.T)[order], starts)  # (held, q)
    scores = best.mean(axis=1)
    ranked = np.argsort(-scores, kind="stable")[:most]
    return tuple(Region(parts[held[i]].box, float(scores[i]), parts[held[i]].text) for i in ranked)


def owners(boxes: NDArray[np.float32], blocks: NDArray[np.float32]) -> NDArray[np.int64]:
    """Which block each box belongs to: the smallest one that contains its centre.

    Args:
        boxes: (n, 4), NaN rows allowed.
        blocks: (m, 4)

    Returns:
        (n,) indices into blocks, -1 for none.
    """
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    within = (blocks[:, 0] <= x[:, None]) & (x[:, None] <= blocks[:, 2])
    within &= (blocks[:, 1] <= y[:, None]) & (y[:, None] <= blocks[:, 3])  # (n, m); NaN compares false
    areas = (blocks[:, 2] - blocks[:, 0]) * (blocks[:, 3] - blocks[:, 1])
    smallest = np.where(within, areas, np.inf).argmin(axis=1)
    return np.where(within.any(axis=1), smallest, -1)
