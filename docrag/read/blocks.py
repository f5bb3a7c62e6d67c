"""From words to the blocks of a page: paragraphs, headings and table rows that can be shown as an answer.

Works in any unit that is the same in x and y (points, pixels); (0, 0) is the top left corner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from docrag.types import Block, Box, Word

JOINED_CHARS = 600
"""Fragments are joined up to this many characters."""
HELD_CHARS = 1500
"""What MuPDF holds together is split beyond this many characters."""
ROW_GAP = 1.5
"""Widest gap between fragments of one row, in letter heights; the gutter between columns is wider."""
LINE_GAP = 0.7
"""Widest gap between lines that belong together, in letter heights."""
SIZE_RATIO = 1.15
"""Lines whose letters differ more in height are a heading and its text, or a text and its footnote."""


class PlacedWord(NamedTuple):
    """A word as a text layer or OCR gives it."""

    text: str
    box: Box
    block: int
    """Number of the block that it came in; the words of a block follow each other."""
    line: int
    """Number of its line within that block."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """Words that belong together."""

    words: list[PlacedWord]
    box: Box
    size: float
    """Height of its largest letters."""
    chars: int

    def __add__(self, other: Fragment) -> Fragment:
        """Both, the words of the other one behind."""
        box = _union((self.box, other.box))
        return Fragment(self.words + other.words, box, max(self.size, other.size), self.chars + other.chars)


def lay_out(
    words: Iterable[PlacedWord], width: float, height: float
) -> tuple[tuple[Word, ...], tuple[Block, ...]]:
    """The words of a page in reading order, and the blocks that they form, with boxes in page units.

    Args:
        words: In reading order, block by block.
        width: Width of the page, in the unit of the boxes.
        height: Height of the page.
    """
    found: list[Word] = []
    blocks: list[Block] = []
    for fragment in join(fragments(words)):
        found += [Word(word.text, _shares(word.box, width, height), len(blocks)) for word in fragment.words]
        size = round(min(fragment.size / height, 1.0), 5)
        blocks.append(Block(text_of(fragment.words), _shares(fragment.box, width, height), size))
    return tuple(found), tuple(blocks)


def fragments(words: Iterable[PlacedWord]) -> list[Fragment]:
    """One fragment for each block that the words came in, several where a block is too long to be shown."""
    found = []
    for _, held in groupby(words, key=lambda word: word.block):
        block = list(held)
        parts = _split(block) if _chars(block) > HELD_CHARS else [block]
        found += [_fragment(part) for part in parts]
    return found


def join(pieces: Sequence[Fragment]) -> list[Fragment]:
    """Join fragments that follow each other and belong together: cells to rows, rows and lines to blocks.

    No joined fragment covers a third one, which keeps columns apart.
    """
    return _join(_join(pieces, _same_row), _next_line)


def text_of(words: Iterable[PlacedWord]) -> str:
    """The words as text: those of a row separated by blanks, rows by line breaks."""
    return "\n".join(" ".join(word.text for word in row) for row in _rows(words))


def _join(pieces: Sequence[Fragment], belongs: Callable[[Fragment, Fragment], bool]) -> list[Fragment]:
    """Join each fragment to the one before where `belongs` says so and the two cover no third one."""
    boxes = np.array([piece.box for piece in pieces], dtype=np.float64).reshape(-1, 4)
    found: list[Fragment] = []
    for piece in pieces:
        if found and belongs(found[-1], piece):
            joined = found[-1] + piece
            apart = _touched(found[-1].box, boxes) | _touched(piece.box, boxes)
            if not (_touched(joined.box, boxes) & ~apart).any():
                found[-1] = joined
                continue
        found.append(piece)
    return found


def _same_row(left: Fragment, right: Fragment) -> bool:
    """Whether two fragments are neighbours in one row of letters."""
    letter = max(left.size, right.size)
    heights = [piece.box[3] - piece.box[1] for piece in (left, right)]
    gap = max(right.box[0] - left.box[2], left.box[0] - right.box[2])
    return (
        max(heights) < 2 * letter
        and _overlap(left.box, right.box, 1) > 0.5 * min(heights)
        and gap < ROW_GAP * letter
    )


def _next_line(above: Fragment, below: Fragment) -> bool:
    """Whether a fragment continues the one above: close by, as large, in the same column."""
    letter = min(above.size, below.size)
    gap = below.box[1] - above.box[3]
    narrow = min(piece.box[2] - piece.box[0] for piece in (above, below))
    return (
        -letter < gap < LINE_GAP * letter
        and below.box[3] > above.box[3]
        and max(above.size, below.size) < SIZE_RATIO * letter
        and _overlap(above.box, below.box, 0) > 0.5 * narrow
        and above.chars + below.chars <= JOINED_CHARS
    )


def _rows(words: Iterable[PlacedWord]) -> Iterator[list[PlacedWord]]:
    """Words that stand beside each other; the cells of a table row are lines of their own in MuPDF."""
    row: list[PlacedWord] = []
    for word in words:
        if row and (word.block, word.line) != (row[-1].block, row[-1].line):
            low = min(word.box[3] - word.box[1], row[-1].box[3] - row[-1].box[1])
            if _overlap(word.box, row[-1].box, 1) < 0.5 * low:
                yield row
                row = []
        row.append(word)
    if row:
        yield row


def _split(words: list[PlacedWord]) -> Iterator[list[PlacedWord]]:
    """Parts of a long block, of whole rows and about `JOINED_CHARS` characters."""
    part: list[PlacedWord] = []
    for row in _rows(words):
        if part and _chars(part) + _chars(row) > JOINED_CHARS:
            yield part
            part = []
        part = part + row
    yield part


def _fragment(words: list[PlacedWord]) -> Fragment:
    """The fragment that some words form."""
    return Fragment(words, _union([word.box for word in words]), max(map(_letter, words)), _chars(words))


def _letter(word: PlacedWord) -> float:
    """Height of a word's letters; a word much higher than wide runs up or down the page."""
    width, height = word.box[2] - word.box[0], word.box[3] - word.box[1]
    return width if len(word.text) > 1 and height > 2 * width else height


def _chars(words: Iterable[PlacedWord]) -> int:
    return sum(len(word.text) + 1 for word in words)


def _union(boxes: Sequence[Box]) -> Box:
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _overlap(one: Box, other: Box, axis: int) -> float:
    """Length that two boxes share along an axis; negative where a gap is between them."""
    return min(one[axis + 2], other[axis + 2]) - max(one[axis], other[axis])


def _touched(box: Box, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the boxes, (n, 4), share an area with one: (n,)."""
    x0, y0, x1, y1 = box
    return (boxes[:, 0] < x1) & (boxes[:, 2] > x0) & (boxes[:, 1] < y1) & (boxes[:, 3] > y0)


def _shares(box: Box, width: float, height: float) -> Box:
    """A box in page units, within 0..1."""
    x0, y0, x1, y1 = box
    return _share(x0, width), _share(y0, height), _share(x1, width), _share(y1, height)


def _share(length: float, whole: float) -> float:
    return round(min(max(length / whole, 0.0), 1.0), 5)
