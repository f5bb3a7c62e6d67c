"""Words of pages without a text layer, read from their picture by RapidOCR; its models lie in its wheel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from docrag.read.blocks import PlacedWord, lay_out, reading_order
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
    def box(self) -> Box:
        """The upright box around it."""
        (x0, y0), (x1, y1) = self.corners.min(axis=0), self.corners.max(axis=0)
        return float(x0), float(y0), float(x1), float(y1)


class Reader:
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
    order = reading_order([line.box for line in lines])
    placed = (word for block, at in enumerate(order) for word in split_line(lines[at], block))
    return lay_out(placed, width, height)


def split_line(line: Line, block: int) -> Iterator[PlacedWord]:
    """The words of a line; each gets as much of it as it has letters."""
    left, right = line.corners[[0, 3]], line.corners[[1, 2]]
    for match in _WORDS.finditer(line.text):
        start, end = (place / len(line.text) for place in match.span())
        ends = np.concatenate([left + (right - left) * start, left + (right - left) * end])
        (x0, y0), (x1, y1) = ends.min(axis=0), ends.max(axis=0)
        yield PlacedWord(match.group(), (float(x0), float(y0), float(x1), float(y1)), block, 0)


def _lines(found: Any) -> list[Line]:
    """The lines in RapidOCR's answer; it has no boxes where it found nothing."""
    if found.boxes is None or found.txts is None:
        return []
    return [
        Line(text, np.asarray(box, dtype=np.float32))
        for text, box in zip(found.txts, found.boxes, strict=True)
    ]
