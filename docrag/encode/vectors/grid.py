"""Where patches are on a page: the boxes of grids, in the order in which models give them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def grid_boxes(columns: int, rows: int) -> NDArray[np.float32]:
    """The boxes of a grid of equal patches over the whole page, row by row.

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
    """The boxes of patches in tiles: tile by tile, and row by row within a tile (Idefics3).

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


def place_boxes(boxes: NDArray[np.float32], is_patch: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The boxes of all vectors of a page, NaN for those without a place on it.

    Args:
        boxes: (patches, 4), in the order of the vectors.
        is_patch: (n,) which of the n vectors of the page are patches.

    Raises:
        ValueError: The number of patches differs from the number of boxes.
    """
    patches = int(is_patch.sum())
    if patches != len(boxes):
        raise ValueError(f"{patches} patches, but the grid has {len(boxes)}")
    placed = np.full((len(is_patch), 4), np.nan, np.float32)
    placed[is_patch] = boxes
    return placed
