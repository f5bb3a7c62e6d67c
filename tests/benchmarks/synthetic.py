"""Pages and queries shaped like those of ColPali: a thousand vectors of 128 floats a page, made from a seed.

Text stands in blocks on a grid, each about one topic, and neighbours in a line are alike; the rest is
background. Every page has a style of its own, which all its vectors share. What is measured with them is
time, memory and how well two stages find what exact search finds; how good the answers are, it does not tell.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from docrag.encode.vectors.grid import grid_boxes
from docrag.encode.vectors.pooling import pool_rows
from docrag.store.payload import page_payload
from docrag.types import BM25, CAPTION, PATCHES, POOLED, MultiVector, PageRecord, SparseVector, Vector
from tests.samples import make_page

Floats = NDArray[np.float32]

SIDE = 32
DIM = 128
SPECIAL = 6
TOPICS = 100
MEANINGS = 6000
BACKGROUNDS = 8
QUERY_WORDS = 12
QUERY_ROWS = 20
NOISE = 0.5
STYLE = 0.4


@dataclass(frozen=True, slots=True)
class Block:
    """Text on the grid: the meaning of each patch in it, line by line, all of one topic."""

    topic: int
    top: int
    left: int
    words: NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """All pages and queries that a seed gives; page i is the same whatever else is made.

    Args:
        seed: Of everything.
    """

    seed: int = 0

    @cached_property
    def topics(self) -> Floats:
        """(TOPICS, DIM) what the words of a topic have in common."""
        return self._directions(1, TOPICS)

    @cached_property
    def meanings(self) -> Floats:
        """(MEANINGS, DIM), those of a topic one after another."""
        own = self._directions(2, MEANINGS)
        return unit(own + 0.7 * np.repeat(self.topics, MEANINGS // TOPICS, axis=0))

    @cached_property
    def fixed(self) -> Floats:
        """(BACKGROUNDS + SPECIAL, DIM) kinds of background, then what each special token is like."""
        return self._directions(3, BACKGROUNDS + SPECIAL)

    def blocks(self, number: int) -> list[Block]:
        """The text of a page about three topics, from top to bottom in one column or two."""
        rng = np.random.default_rng([self.seed, 4, number])
        topics = rng.choice(TOPICS, size=3, replace=False)
        columns = int(rng.integers(1, 3))
        width = SIDE // columns - 2
        blocks = []
        for column in range(columns):
            top = int(rng.integers(1, 5))
            while (lines := int(rng.integers(2, 9))) + top < SIDE:
                topic = int(rng.choice(topics))
                words = self._text(rng, topic, (lines, width))
                blocks.append(Block(topic, top, 1 + column * SIDE // columns, words))
                top += lines + int(rng.integers(1, 4))
        return blocks

    def page(self, number: int) -> MultiVector:
        """(1030, DIM) patches row by row, then special tokens, which stand nowhere."""
        rng = np.random.default_rng([self.seed, 5, number])
        columns = np.arange(SIDE) // rng.integers(4, 16)
        kinds = rng.integers(BACKGROUNDS, size=(SIDE, SIDE))[:: rng.integers(1, 8)]
        grid = self.fixed[np.resize(kinds, (SIDE, SIDE))[:, columns]]
        for block in self.blocks(number):
            lines, width = block.words.shape
            words = self.meanings[block.words]
            words = words + 0.3 * np.roll(words, 1, axis=1) + 0.3 * self.topics[block.topic]
            grid[block.top : block.top + lines, block.left : block.left + width] = unit(words)
        rows = np.concatenate([grid.reshape(-1, DIM), self.fixed[BACKGROUNDS:]])
        style = rng.standard_normal(DIM, np.float32) * np.float32(STYLE / DIM**0.5)
        noise = rng.standard_normal(rows.shape, np.float32) * np.float32(NOISE / DIM**0.5)
        nowhere = np.full((SPECIAL, 4), np.nan, np.float32)
        return MultiVector(unit(rows + style + noise), np.concatenate([grid_boxes(SIDE, SIDE), nowhere]))

    def inked(self, number: int) -> MultiVector:
        """The same page without its background, as `--keep-patches inked` stores it."""
        page, drawn = self.page(number), np.zeros((SIDE, SIDE), bool)
        for block in self.blocks(number):
            lines, width = block.words.shape
            drawn[block.top : block.top + lines, block.left : block.left + width] = True
        keep = np.concatenate([drawn.reshape(-1), np.ones(SPECIAL, bool)])
        assert page.boxes is not None
        return MultiVector(page.vectors[keep], page.boxes[keep])

    def record(self, number: int, *, inked: bool = False) -> PageRecord:
        """A page as it is stored, with all patches or those that show something."""
        page, words = self.inked(number) if inked else self.page(number), self._words(number)
        vectors: dict[str, Vector] = {
            PATCHES: page.vectors,
            POOLED: pool_rows(page),
            CAPTION: unit(self.meanings[words].mean(axis=0)),
            BM25: terms(words),
        }
        return PageRecord(page_id(number), vectors, payload(number, words, page.boxes))

    def records(self, count: int, chunk: int = 64) -> Iterator[list[PageRecord]]:
        """The first pages, some at a time, so that they need not be in memory at once."""
        for start in range(0, count, chunk):
            yield [self.record(number) for number in range(start, min(start + chunk, count))]

    def query(self, number: int, pages: int) -> dict[str, Vector]:
        """The vectors of a question about one of so many pages: words of a block, and what surrounds them."""
        rng = np.random.default_rng([self.seed, 6, number])
        blocks = self.blocks(int(rng.integers(pages)))
        block = blocks[int(rng.integers(len(blocks)))]
        said = np.resize(block.words, QUERY_WORDS)
        words = np.concatenate([said, self._of(rng, block.topic, (QUERY_ROWS - QUERY_WORDS,))])
        rows = self.meanings[words]
        noise = rng.standard_normal(rows.shape, np.float32) * np.float32(NOISE / DIM**0.5)
        return {
            PATCHES: unit(rows + noise),
            CAPTION: unit(self.meanings[words].mean(axis=0)),
            BM25: terms(words),
        }

    def _directions(self, kind: int, count: int) -> Floats:
        return unit(np.random.default_rng([self.seed, kind]).standard_normal((count, DIM), np.float32))

    def _text(self, rng: np.random.Generator, topic: int, shape: tuple[int, int]) -> NDArray[np.int64]:
        """Words: half of them of the topic, the others any."""
        words = np.where(
            rng.random(shape) < 0.5, rng.integers(MEANINGS, size=shape), self._of(rng, topic, shape)
        )
        # A long word covers two patches.
        words[:, 1:] = np.where(rng.random(words[:, 1:].shape) < 0.3, words[:, :-1], words[:, 1:])
        return words

    def _of(self, rng: np.random.Generator, topic: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
        own = MEANINGS // TOPICS
        return topic * own + rng.integers(own, size=shape)

    def _words(self, number: int) -> NDArray[np.int64]:
        return np.concatenate([block.words.reshape(-1) for block in self.blocks(number)])


def unit(vectors: Floats) -> Floats:
    """The vectors at length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def terms(words: NDArray[np.int64]) -> SparseVector:
    """Term weights as BM25 has them: frequent words saturate."""
    found, counts = np.unique(words, return_counts=True)
    return SparseVector(tuple(found.tolist()), tuple((counts * 2.2 / (counts + 1.2)).tolist()))


def page_id(number: int) -> str:
    """The id of a page."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"synthetic/{number}"))


def payload(number: int, words: NDArray[np.int64], boxes: Floats | None) -> dict[str, object]:
    """What a page of a document of fifty says of itself: as much as a real one, as hard to compress."""
    text = " ".join(f"{word * 2654435761 % 2**26:x}" for word in words[:400].tolist())
    document, page = divmod(number, 50)
    read = make_page(text, title=f"Document {document}", number=page + 1, document_id=f"{document:064x}")
    return page_payload(read, "", boxes, f"http://127.0.0.1:8000/pages/{document:064x}/{page + 1}.jpg")
