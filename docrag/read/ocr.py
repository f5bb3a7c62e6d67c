"""Optical character recognition with RapidOCR, whose package includes its models."""

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
"""Long side of the picture that OCR reads, in pixels."""
_DETECTOR_SIDE = 960
_WORDS = re.compile(r"\S+")


class Line(NamedTuple):
    """A line of text that OCR found."""

    text: str
    corners: NDArray[np.float32]
    """(4, 2) x and y in pixels: top left, top right, bottom right and bottom left, seen along the line."""

    @property
    def slope(self) -> float:
        """How far the line falls per pixel to the right; 0 for lines that run steeper than 45 degrees."""
        across, down = self.corners[1] - self.corners[0]
        return float(down / across) if across > abs(down) else 0.0


class OcrReader:
    """RapidOCR with settings for printed pages; loading it takes about a second.

    Args:
        threads: Threads of the models; workers times threads should not exceed the number of cores.
    """

    def __init__(self, threads: int = 1) -> None:
        from rapidocr import RapidOCR

        # 960 pixels are enough for the detector, and pages are rarely upside down, so the direction is not
        # classified: this finds the same text in two thirds of the time.
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
        """Return the words on an RGB picture in reading order, and the blocks that they form."""
        # RapidOCR expects OpenCV's order of channels, BGR.
        output = self._engine(np.asarray(picture)[:, :, ::-1].copy())
        return lay_out_lines(_lines(output), picture.width, picture.height)


def lay_out_lines(
    lines: list[Line], width: float, height: float
) -> tuple[tuple[Word, ...], tuple[Block, ...]]:
    """Words and blocks from the lines that were found on a picture of this size in pixels."""
    rows = reading_order(_straight_boxes(lines))
    placed = (
        word
        for row, members in enumerate(rows)
        for cell, member in enumerate(members)
        for word in split_line(lines[member], row, cell)
    )
    return lay_out(placed, width, height)


def split_line(line: Line, block: int, number: int) -> Iterator[PlacedWord]:
    """The words of a line; the line's length is divided among them by their number of letters."""
    left, right = line.corners[[0, 3]], line.corners[[1, 2]]
    for match in _WORDS.finditer(line.text):
        start = match.start() / len(line.text)
        end = match.end() / len(line.text)
        corners = np.concatenate([left + (right - left) * start, left + (right - left) * end])
        yield PlacedWord(match.group(), _box_around(corners), block, number)


def _lines(output: Any) -> list[Line]:
    """The lines in RapidOCR's output, whose fields are None where it found nothing."""
    if output.boxes is None or output.txts is None:
        return []
    return [
        Line(text, np.asarray(box, dtype=np.float32))
        for text, box in zip(output.txts, output.boxes, strict=True)
    ]


def _straight_boxes(lines: list[Line]) -> list[Box]:
    """The middle half of each line's height, with the slant of the page removed.

    Rows overlap on a slanted page, and also because of the margin that the detector leaves around lines.
    """
    if not lines:
        return []
    # Long lines show the slant of the page most exactly.
    slope = np.average([line.slope for line in lines], weights=[len(line.text) for line in lines])
    # The slope is small, so it stands for the sine, and 1 for the cosine.
    rotation = np.array([[1.0, -slope], [slope, 1.0]])
    boxes = []
    for line in lines:
        x0, y0, x1, y1 = _box_around(line.corners @ rotation)
        boxes.append((x0, y0 + (y1 - y0) / 4, x1, y1 - (y1 - y0) / 4))
    return boxes


def _box_around(points: NDArray[np.floating[Any]]) -> Box:
    """The upright box around points, (n, 2)."""
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)
