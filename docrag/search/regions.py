"""Where on a page the query's vectors found their match."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from docrag.types import Block, Region


def matched_regions(
    query: NDArray[np.float32],
    patches: NDArray[np.float32],
    boxes: NDArray[np.float32],
    blocks: Sequence[Block],
    most: int = 3,
) -> tuple[Region, ...]:
    """The blocks of a page ranked by MaxSim between the query and the vectors inside each block.

    Args:
        query: (q, dim)
        patches: (n, dim)
        boxes: (n, 4) where the patches stand, NaN rows for those that stand nowhere.
        blocks: Of the page, in reading order.
        most: How many to give.

    Returns:
        Best first; empty where no vector stands in a block.
    """
    if not blocks or not len(query):
        return ()
    owner = owners(boxes, np.array([block.box for block in blocks], np.float32))
    best = np.full((len(blocks), len(query)), -np.inf, np.float32)  # (blocks, q)
    inside = owner >= 0
    np.maximum.at(best, owner[inside], patches[inside] @ query.T)
    scores = best.mean(axis=1)
    ranked = [i for i in np.argsort(-scores, kind="stable") if np.isfinite(scores[i])]
    return tuple(Region(blocks[i].box, float(scores[i]), blocks[i].text) for i in ranked[:most])


def owners(boxes: NDArray[np.float32], blocks: NDArray[np.float32]) -> NDArray[np.int64]:
    """Which block each box stands in: the smallest one that holds its middle.

    Args:
        boxes: (n, 4), NaN rows allowed.
        blocks: (m, 4)

    Returns:
        (n,) positions in blocks, -1 for none.
    """
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    within = (blocks[:, 0] <= x[:, None]) & (x[:, None] <= blocks[:, 2])
    within &= (blocks[:, 1] <= y[:, None]) & (y[:, None] <= blocks[:, 3])  # (n, m); NaN compares false
    areas = (blocks[:, 2] - blocks[:, 0]) * (blocks[:, 3] - blocks[:, 1])
    smallest = np.where(within, areas, np.inf).argmin(axis=1)
    return np.where(within.any(axis=1), smallest, -1)
