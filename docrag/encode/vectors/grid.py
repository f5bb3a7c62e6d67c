"""Where patches stand on a page: boxes of grids, in the order in which models give them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def grid_boxes(columns: int, rows: int) -> NDArray[np.float32]:
    """Boxes of a grid of equal patches over the whole page, row by row.

    Returns:
        (rows * columns, 4) in page units.

    >>> grid_boxes(2, 1).tolist()
    [[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]]
    """
    x = np.linspace(0, 1, columns + 1, dtype=np.float32)
    y = np.linspace(0, 1, rows + 1, dtype=np.float32)
    left, top = np.meshgrid(x[:-1], y[:-1])
    right, bottom = np.meshgrid(x[1:], y[1:])
    return np.stack([left, top, right, bottom], axis=-1).reshape(-1, 4)


def tile_boxes(tile_columns: int, tile_rows: int, side: int) -> NDArray[np.float32]:
    """Boxes of the patches of an image cut into tiles: tile by tile, within a tile row by row (Idefics3).

    Args:
        tile_columns: Tiles side by side.
        tile_rows: Tiles one below the other.
        side: Patches along each side of a tile.

    Returns:
        (tile_rows * tile_columns * side * side, 4) in page units.
    """
    columns, rows = tile_columns * side, tile_rows * side
    boxes = grid_boxes(columns, rows).reshape(tile_rows, side, tile_columns, side, 4)
    return boxes.transpose(0, 2, 1, 3, 4).reshape(-1, 4)


def place(boxes: NDArray[np.float32], at: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Boxes for all vectors of a page, NaN for those that stand nowhere.

    Args:
        boxes: (patches, 4), in the order of the vectors.
        at: (n,) which of the n vectors of the page are patches.

    Raises:
        ValueError: There are not as many patches as boxes.
    """
    if int(at.sum()) != len(boxes):
        raise ValueError(f"{int(at.sum())} patches, but the grid has {len(boxes)}")
    placed = np.full((len(at), 4), np.nan, np.float32)
    placed[at] = boxes
    return placed
