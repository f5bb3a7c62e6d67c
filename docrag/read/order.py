"""The order in which a person reads lines that OCR found somewhere on a page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from docrag.types import Box

COLUMN_WIDTH = 16.0
"""Lines of a column are at least so many box heights wide (some 20 letters); cells are narrower."""
_COLUMN_LINES = 3


def reading_order(boxes: Sequence[Box]) -> list[list[int]]:
    """Rows of boxes, by position: down a column of text, then the next one; from left to right in a row.

    The page is cut, and its parts again, at the widest stripe that no box touches: between columns of text
    where there is one over the whole height, else between rows (recursive XY-cut). Columns of a table are not
    cut, so that its cells stay beside their row's label.
    """
    return _cut(list(range(len(boxes))), boxes) if boxes else []


def _cut(members: list[int], boxes: Sequence[Box]) -> list[list[int]]:
    """The rows of a part of the page."""
    if len(members) == 1:
        return [members]
    letter = float(np.median([boxes[i][3] - boxes[i][1] for i in members]))
    columns = _part(members, boxes, 0, letter / 2)
    if columns is not None and not all(_is_column(side, boxes, letter) for side in columns):
        columns = None
    parts = columns or _part(members, boxes, 1, 0.0)
    if parts is None:
        return [sorted(members, key=lambda i: boxes[i][0])]
    return _cut(parts[0], boxes) + _cut(parts[1], boxes)


def _part(
    members: list[int], boxes: Sequence[Box], axis: int, least: float
) -> tuple[list[int], list[int]] | None:
    """The members before and behind the widest gap along an axis; None where none is wider than `least`."""
    ordered = sorted(members, key=lambda i: boxes[i][axis])
    widest, position, reach = least, 0, boxes[ordered[0]][axis + 2]
    for at, member in enumerate(ordered[1:], start=1):
        gap = boxes[member][axis] - reach
        if gap > widest:
            widest, position = gap, at
        reach = max(reach, boxes[member][axis + 2])
    return (ordered[:position], ordered[position:]) if position else None


def _is_column(members: list[int], boxes: Sequence[Box], letter: float) -> bool:
    """Whether boxes can be the lines of a column of text."""
    widths = [boxes[i][2] - boxes[i][0] for i in members]
    return len(members) >= _COLUMN_LINES and float(np.median(widths)) >= COLUMN_WIDTH * letter
