"""Groups the words of a page into blocks: paragraphs, headings and table rows that can be shown as an answer.

Boxes may be in any unit that is the same in x and y (points, pixels); (0, 0) is the top left corner.
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
"""Fragments are joined into blocks of at most this many characters."""
UNSPLIT_CHARS = 1500
"""A block of the source with more characters than this is split."""
ROW_GAP = 1.5
"""Widest gap between fragments of one row, in letter heights; the gap between columns is wider."""
LINE_GAP = 0.7
"""Widest gap between lines that belong together, in letter heights."""
SIZE_RATIO = 1.15
"""Lines whose letter heights differ by a larger factor are not joined, such as a heading and its text."""


class PlacedWord(NamedTuple):
    """A word as it comes from a text layer or from OCR."""

    text: str
    box: Box
    block: int
    """Number of the block in which the source had it; the words of a block are consecutive."""
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
        """Both fragments as one, with the words of `other` at the end."""
        box = _union((self.box, other.box))
        return Fragment(self.words + other.words, box, max(self.size, other.size), self.chars + other.chars)


def lay_out(
    words: Iterable[PlacedWord], width: float, height: float
) -> tuple[tuple[Word, ...], tuple[Block, ...]]:
    """Turn words into the words and blocks of a page, with boxes in page units.

    Args:
        words: In reading order, block by block.
        width: Width of the page, in the unit of the boxes.
        height: Height of the page.

    Returns:
        The words in reading order, and the blocks to which they belong.
    """
    page_words: list[Word] = []
    blocks: list[Block] = []
    for fragment in join(fragments(words)):
        page_words += [
            Word(word.text, _in_page_units(word.box, width, height), len(blocks)) for word in fragment.words
        ]
        size = round(min(fragment.size / height, 1.0), 5)
        blocks.append(Block(text_of(fragment.words), _in_page_units(fragment.box, width, height), size))
    return tuple(page_words), tuple(blocks)


def fragments(words: Iterable[PlacedWord]) -> list[Fragment]:
    """One fragment for each block of the source, or several where a block is too long to be shown."""
    pieces = []
    for _, block_words in groupby(words, key=lambda word: word.block):
        block = list(block_words)
        parts = _split(block) if _count_chars(block) > UNSPLIT_CHARS else [block]
        pieces += [_fragment(part) for part in parts]
    return pieces


def join(pieces: Sequence[Fragment]) -> list[Fragment]:
    """Join consecutive fragments that belong together: cells into rows, rows and lines into blocks.

    No joined fragment covers a third one, which keeps columns apart.
    """
    return _join_neighbours(_join_neighbours(pieces, _same_row), _next_line)


def text_of(words: Iterable[PlacedWord]) -> str:
    """The words as text: spaces between the words of a row, line breaks between rows."""
    return "\n".join(" ".join(word.text for word in row) for row in _rows(words))


def _join_neighbours(
    pieces: Sequence[Fragment], belong_together: Callable[[Fragment, Fragment], bool]
) -> list[Fragment]:
    """Join each fragment to the previous one if they belong together and would not cover a third one."""
    boxes = np.array([piece.box for piece in pieces], dtype=np.float64).reshape(-1, 4)
    joined: list[Fragment] = []
    for piece in pieces:
        if joined and belong_together(joined[-1], piece):
            both = joined[-1] + piece
            covered_before = _touched(joined[-1].box, boxes) | _touched(piece.box, boxes)
            if not (_touched(both.box, boxes) & ~covered_before).any():
                joined[-1] = both
                continue
        joined.append(piece)
    return joined


def _same_row(left: Fragment, right: Fragment) -> bool:
    """Whether two fragments stand next to each other in one row."""
    letter = max(left.size, right.size)
    heights = [piece.box[3] - piece.box[1] for piece in (left, right)]
    gap = max(right.box[0] - left.box[2], left.box[0] - right.box[2])
    return (
        max(heights) < 2 * letter
        and _shared_length(left.box, right.box, 1) > 0.5 * min(heights)
        and gap < ROW_GAP * letter
    )


def _next_line(above: Fragment, below: Fragment) -> bool:
    """Whether a fragment continues the one above: close to it, of the same size, in the same column."""
    letter = min(above.size, below.size)
    gap = below.box[1] - above.box[3]
    narrow = min(piece.box[2] - piece.box[0] for piece in (above, below))
    return (
        -letter < gap < LINE_GAP * letter
        and below.box[3] > above.box[3]
        and max(above.size, below.size) < SIZE_RATIO * letter
        and _shared_length(above.box, below.box, 0) > 0.5 * narrow
        and above.chars + below.chars <= JOINED_CHARS
    )


def _rows(words: Iterable[PlacedWord]) -> Iterator[list[PlacedWord]]:
    """The words row by row; MuPDF reports each cell of a table row as a line of its own."""
    row: list[PlacedWord] = []
    for word in words:
        if row and (word.block, word.line) != (row[-1].block, row[-1].line):
            height = min(word.box[3] - word.box[1], row[-1].box[3] - row[-1].box[1])
            if _shared_length(word.box, row[-1].box, 1) < 0.5 * height:
                yield row
                row = []
        row.append(word)
    if row:
        yield row


def _split(words: list[PlacedWord]) -> Iterator[list[PlacedWord]]:
    """The parts of a long block: whole rows of about `JOINED_CHARS` characters together."""
    part: list[PlacedWord] = []
    for row in _rows(words):
        if part and _count_chars(part) + _count_chars(row) > JOINED_CHARS:
            yield part
            part = []
        part = part + row
    yield part


def _fragment(words: list[PlacedWord]) -> Fragment:
    return Fragment(
        words, _union([word.box for word in words]), max(map(_letter_height, words)), _count_chars(words)
    )


def _letter_height(word: PlacedWord) -> float:
    """Height of a word's letters; a word that is much higher than wide runs up or down the page."""
    width, height = word.box[2] - word.box[0], word.box[3] - word.box[1]
    return width if len(word.text) > 1 and height > 2 * width else height


def _count_chars(words: Iterable[PlacedWord]) -> int:
    """Characters of the words with a space after each."""
    return sum(len(word.text) + 1 for word in words)


def _union(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all of them."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _shared_length(one: Box, other: Box, axis: int) -> float:
    """Length that two boxes share along an axis (0 is x, 1 is y); negative if there is a gap between them."""
    return min(one[axis + 2], other[axis + 2]) - max(one[axis], other[axis])


def _touched(box: Box, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the boxes, (n, 4), share an area with `box`: (n,)."""
    x0, y0, x1, y1 = box
    return (boxes[:, 0] < x1) & (boxes[:, 2] > x0) & (boxes[:, 1] < y1) & (boxes[:, 3] > y0)


def _in_page_units(box: Box, width: float, height: float) -> Box:
    """A box in shares of the page's width and height, limited to 0..1."""
    x0, y0, x1, y1 = box
    return _share(x0, width), _share(y0, height), _share(x1, width), _share(y1, height)


def _share(length: float, whole: float) -> float:
    return round(min(max(length / whole, 0.0), 1.0), 5)
