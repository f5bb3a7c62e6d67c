"""Words of pages without a text layer, read from their picture by RapidOCR; its models lie in its wheel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from docrag.read.blocks import PlacedWord, lay_out
from docrag.read.order import reading_order
from docrag.types import Block, Box, Word

if TYPE_CHECKING:
    from PIL.Image import Image

OCR_SIDE = 1600
"""Long side of the picture that is read, in pixels."""
_DETECTOR_SIDE = 960
_WORDS = re.compile(r"\S+")


class Line(NamedTuple):
    """A line of text as OCR finds it."""

    text: str
    corners: NDArray[np.float32]
    """(4, 2) x and y in pixels: top left, top right, bottom right, bottom left, as the line runs."""

    @property
    def slope(self) -> float:
        """How far it sinks on its way to the right, as a share of the way."""
        across, down = self.corners[1] - self.corners[0]
        return float(down / across) if across > abs(down) else 0.0


class OcrReader:
    """RapidOCR with what suits printed pages; about a second to load, and as long as the process lives.

    Args:
        threads: Threads of the models; workers times threads should not be more than the cores.
    """

    def __init__(self, threads: int = 1) -> None:
        from rapidocr import RapidOCR

        # The detector needs no more than 960 pixels, and pages rarely stand on their head: the same text in
        # two thirds of the time.
        self._engine = RapidOCR(
            params={
                "Global.use_cls": False,
                "Global.log_level": "critical",
                "Det.limit_side_len": _DETECTOR_SIDE,
                "Det.limit_type": "max",
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            }
        )

    def words(self, picture: Image) -> tuple[tuple[Word, ...], tuple[Block, ...]]:
        """The words on a picture in reading order, and the blocks that they form."""
        # RapidOCR takes what OpenCV gives: blue first.
        found = self._engine(np.asarray(picture)[:, :, ::-1].copy())
        return lay_out_lines(_lines(found), picture.width, picture.height)


def lay_out_lines(
    lines: list[Line], width: float, height: float
) -> tuple[tuple[Word, ...], tuple[Block, ...]]:
    """Words and blocks of the lines that were found on a picture of so many pixels."""
    rows = reading_order(_straight_boxes(lines))
    placed = (
        word
        for row, members in enumerate(rows)
        for cell, member in enumerate(members)
        for word in split_line(lines[member], row, cell)
    )
    return lay_out(placed, width, height)


def split_line(line: Line, block: int, number: int) -> Iterator[PlacedWord]:
    """The words of a line; each gets as much of it as it has letters."""
    left, right = line.corners[[0, 3]], line.corners[[1, 2]]
    for match in _WORDS.finditer(line.text):
        start, end = (place / len(line.text) for place in match.span())
        ends = np.concatenate([left + (right - left) * start, left + (right - left) * end])
        yield PlacedWord(match.group(), _box(ends), block, number)


def _lines(found: Any) -> list[Line]:
    """The lines in RapidOCR's answer; it has no boxes where it found nothing."""
    if found.boxes is None or found.txts is None:
        return []
    return [
        Line(text, np.asarray(box, dtype=np.float32))
        for text, box in zip(found.txts, found.boxes, strict=True)
    ]


def _straight_boxes(lines: list[Line]) -> list[Box]:
    """The middle of each line as it would stand if the page lay straight.

    On a slanted page rows overlap, and so they do with the margin that the detector leaves around lines.
    """
    if not lines:
        return []
    # Long lines know best.
    slope = np.average([line.slope for line in lines], weights=[len(line.text) for line in lines])
    turn = np.array([[1.0, -slope], [slope, 1.0]])  # small angles only: sine is slope, cosine 1
    boxes = []
    for line in lines:
        x0, y0, x1, y1 = _box(line.corners @ turn)
        boxes.append((x0, y0 + (y1 - y0) / 4, x1, y1 - (y1 - y0) / 4))
    return boxes


def _box(corners: NDArray[np.floating[Any]]) -> Box:
    """The upright box around some points, (n, 2)."""
    (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)
