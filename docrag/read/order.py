"""The order in which a person reads boxes that lie anywhere on a page, such as the lines that OCR found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from docrag.types import Box

COLUMN_WIDTH = 16.0
"""Lines of a column are at least this many box heights wide (about 20 letters); table cells are narrower."""
_COLUMN_LINES = 3
"""A column has at least this many lines."""


def reading_order(boxes: Sequence[Box]) -> list[list[int]]:
    """Put boxes in reading order: down one column of text, then down the next, from left to right in a row.

    The page, and each of its parts again, is cut at the widest stripe that no box touches: between two
    columns of text if the stripe runs over the whole height, otherwise between two rows (recursive XY-cut).
    The columns of a table are not cut apart, so that its cells stay beside the label of their row.

    Returns:
        The rows, each with the indices of its boxes.
    """
    return _cut(list(range(len(boxes))), boxes) if boxes else []


def _cut(members: list[int], boxes: Sequence[Box]) -> list[list[int]]:
    """The rows of a part of the page that holds the boxes `members`."""
    if len(members) == 1:
        return [members]
    height = float(np.median([boxes[i][3] - boxes[i][1] for i in members]))
    parts = _part(members, boxes, 0, height / 2)
    if parts is None or not all(_is_column(side, boxes, height) for side in parts):
        parts = _part(members, boxes, 1, 0.0)
    if parts is None:
        return [sorted(members, key=lambda i: boxes[i][0])]
    return _cut(parts[0], boxes) + _cut(parts[1], boxes)


def _part(
    members: list[int], boxes: Sequence[Box], axis: int, min_gap: float
) -> tuple[list[int], list[int]] | None:
    """The members before and after the widest gap along an axis; None if no gap is wider than `min_gap`."""
    ordered = sorted(members, key=lambda i: boxes[i][axis])
    widest = min_gap
    cut = 0
    end = boxes[ordered[0]][axis + 2]
    for position, member in enumerate(ordered[1:], start=1):
        gap = boxes[member][axis] - end
        if gap > widest:
            widest = gap
            cut = position
        end = max(end, boxes[member][axis + 2])
    return (ordered[:cut], ordered[cut:]) if cut else None


def _is_column(members: list[int], boxes: Sequence[Box], height: float) -> bool:
    """Whether boxes of about this height can be the lines of a column of text."""
    widths = [boxes[i][2] - boxes[i][0] for i in members]
    return len(members) >= _COLUMN_LINES and float(np.median(widths)) >= COLUMN_WIDTH * height
