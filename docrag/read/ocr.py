"""Optical character recognition: which pages need it, and how RapidOCR reads them with its bundled models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from docrag.read.blocks import PlacedWord, lay_out
from docrag.read.order import reading_order
from docrag.read.source import FEW_WORDS, TextLayer
from docrag.types import Block, Box, Word

if TYPE_CHECKING:
    from PIL.Image import Image

OCR_SIDE = 1600
"""Long side of the picture that OCR reads, in pixels."""
OCR_PICTURE_SHARES = {10: 0.25, FEW_WORDS: 0.9}
"""A page with fewer words than the key is read by OCR if pictures cover at least this share of it. Courts and
scanners stamp a line of a dozen words on pages that are otherwise one picture."""
_CONTRAST = 32
"""Grey levels, of 256, between the darkest and the lightest part of a page that is not blank."""
_DETECTOR_SIDE = 960
_WORDS = re.compile(r"\S+")


def decide_ocr(layer: TextLayer, picture: Image, enabled: bool) -> tuple[bool, str]:
    """Decide whether a page is read by OCR, and say why.

    A page is read if it has no words, or few words and pictures that cover much of it (`OCR_PICTURE_SHARES`),
    unless nothing can be seen on it.
    """
    count = len(layer.words)
    reason = f"it has {count} words, and pictures cover {layer.picture_share:.0%} of it"
    few = any(count < words and layer.picture_share >= share for words, share in OCR_PICTURE_SHARES.items())
    if count and not few:
        return False, reason
    if not enabled:
        return False, "OCR is switched off"
    if is_blank(picture):
        return False, "it is blank"
    return True, reason


def is_blank(picture: Image) -> bool:
    """Whether nothing can be seen on a picture; single specks do not count."""
    grey = np.asarray(picture.convert("L").reduce(4))
    return int(grey.max()) - int(grey.min()) < _CONTRAST


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
