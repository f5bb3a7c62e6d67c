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
_CELL_BOXES = np.array([cell.box for cell in CELLS], np.float32)


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
    owner = _part_of_each(boxes, blocks)
    order = np.argsort(owner, kind="stable")
    order = order[np.searchsorted(owner[order], 0) :]  # without the patches that have no position
    if not len(order):
        return ()
    sorted_owner = owner[order]
    starts = np.flatnonzero(np.concatenate(([True], sorted_owner[1:] != sorted_owner[:-1])))
    held = sorted_owner[starts]  # the parts that hold a patch
    best = np.maximum.reduceat((patches @ query.T)[order], starts)  # (held, q)
    scores = best.mean(axis=1)
    ranked = np.argsort(-scores, kind="stable")[:most]
    parts = [(_part(int(held[rank]), blocks), float(scores[rank])) for rank in ranked]
    return tuple(Region(part.box, score, part.text) for part, score in parts)


def _part_of_each(boxes: NDArray[np.float32], blocks: Sequence[Block]) -> NDArray[np.int64]:
    """Which part of the page each patch is on: (n,) its block, or len(blocks) + its cell; -1 for none."""
    if blocks:
        owner = owners(boxes, np.array([block.box for block in blocks], np.float32))
    else:
        owner = np.full(len(boxes), -1)
    outside = np.flatnonzero((owner < 0) & ~np.isnan(boxes[:, 0]))
    if len(outside):  # on a page of text there are none, or few
        cells = owners(boxes[outside], _CELL_BOXES)
        owner[outside] = np.where(cells < 0, -1, len(blocks) + cells)
    return owner


def _part(number: int, blocks: Sequence[Block]) -> Block:
    return blocks[number] if number < len(blocks) else CELLS[number - len(blocks)]


def owners(boxes: NDArray[np.float32], blocks: NDArray[np.float32]) -> NDArray[np.int64]:
    """Which block each box belongs to: the smallest one that contains its centre.

    Args:
        boxes: (n, 4), NaN rows allowed.
        blocks: (m, 4)

    Returns:
        (n,) indices into blocks, -1 for none.
    """
    areas = (blocks[:, 2] - blocks[:, 0]) * (blocks[:, 3] - blocks[:, 1])
    by_area = np.argsort(areas, kind="stable")
    left, top, right, bottom = blocks[by_area].T[:, :, None]
    x, y = np.ascontiguousarray(((boxes[:, :2] + boxes[:, 2:]) / 2).T)
    within = (left <= x) & (x <= right) & (top <= y) & (y <= bottom)  # (m, n); NaN compares false
    smallest = within.argmax(axis=0)
    return np.where(within[smallest, np.arange(len(boxes))], by_area[smallest], -1)
