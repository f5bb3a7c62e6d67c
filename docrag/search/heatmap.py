"""Heatmaps: how well each place on a page matches each word of a query."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from docrag.encode.encoders import Encoders
from docrag.encode.vectors.norms import normalised
from docrag.errors import NotFound, QueryError
from docrag.store.base import Store
from docrag.store.payload import boxes_of
from docrag.types import PATCHES, MultiVector, SparseVector, is_page_id

LONG_SIDE = 166
"""Cells along the longer side of the page, so that words of a text layer are at least two cells high. With
half as many, the glow of a word appeared between its line and the next."""


@dataclass(frozen=True)
class WordMap:
    """How well each place on a page matches one word."""

    word: str
    grid: NDArray[np.float32]
    """(rows, columns), 0..1, relative to the page: 0 is the median similarity of its patches, anything
    below it, and places without patches; 1 is the best match on the page. `similarity` says how good that
    match is."""
    similarity: float
    """Similarity of the best match, -1..1: what 1 in the grid stands for."""

    def png(self) -> bytes:
        """The grid as a grey PNG, one pixel for each cell: black for no match, white for the best."""
        content = io.BytesIO()
        Image.fromarray(np.rint(self.grid * 255).astype(np.uint8)).save(content, "PNG", optimize=True)
        return content.getvalue()


@dataclass(frozen=True)
class Heatmap:
    """How well each place on a page matches the words of a query."""

    page_id: str
    words: tuple[WordMap, ...]
    """One map for each different word, in the order of the query, without words that the encoder ignores.
    If the encoder cannot tell words apart, there is one map for the whole query."""

    @cached_property
    def whole(self) -> WordMap:
        """The mean over all words: the map of the whole query."""
        grid = np.stack([word.grid for word in self.words]).mean(axis=0)
        similarity = float(np.mean([word.similarity for word in self.words]))
        return WordMap(" ".join(word.word for word in self.words), grid, similarity)


def heatmap(store: Store, encoders: Encoders, page_id: str, query: str) -> Heatmap:
    """How well each place on a page matches the words of a query.

    Args:
        store: The pages.
        encoders: The encoders of the index; the late-interaction encoder makes the comparison.
        page_id: The id of the page, as hits name it.
        query: A question or some words.

    Raises:
        NotFound: The page is not in the index.
        QueryError: The query is empty, or no vector of the page has a position.
    """
    text = query.strip().encode(errors="replace").decode()
    if not text:
        raise QueryError("the query is empty", "ask a question, or give some words")
    records = store.retrieve([page_id], vectors=[PATCHES]) if is_page_id(page_id) else []
    if not records:
        raise NotFound(f"no page {page_id} in the index", "use the id of a hit")
    [record] = records
    patches = record.vectors.get(PATCHES)
    boxes = boxes_of(record.payload)
    placed = ~np.isnan(boxes[:, 0])
    if patches is None or isinstance(patches, SparseVector) or not placed.any():
        raise QueryError(
            "no vector of the page has a position, so no place on it can match",
            "the page has no words: read it with OCR, or index it with a --late model that sees",
        )
    metadata = record.payload["metadata"]
    shape = grid_shape(metadata["width"], metadata["height"])
    words = word_vectors(encoders.encode_words(text), text)
    similarities = [np.asarray(patches)[placed] @ vectors.T for vectors in words.values()]  # (n, rows) each
    best = np.stack([of_word.max(axis=1) for of_word in similarities], axis=1)  # (n, words)
    grids = rasterise(scaled(best), boxes[placed], shape)
    highest = best.max(axis=0)
    maps = [WordMap(word, grids[i], float(highest[i])) for i, word in enumerate(words)]
    return Heatmap(page_id, tuple(maps))


def word_vectors(query: MultiVector, text: str) -> dict[str, NDArray[np.float32]]:
    """The vectors of each word, (rows, dim), L2-normalised, in the order of the query.

    Args:
        query: The encoded query.
        text: Its text. If the encoder cannot tell words apart, one vector stands for the whole text.
    """
    vectors = normalised(query.vectors)
    rows: dict[str, list[int]] = {}
    for row, word in enumerate(query.words or ()):
        if word:
            rows.setdefault(word, []).append(row)
    if not rows:
        return {text: normalised(query.vectors.mean(axis=0))[None]}
    return {word: vectors[of_word] for word, of_word in rows.items()}


def scaled(similarities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each column scaled from its median, 0, to its maximum, 1; all 0 if nothing stands out.

    Args:
        similarities: (n, words)

    >>> scaled(np.array([[0.2], [0.1], [0.3], [0.5], [0.3]], np.float32)).round(2).tolist()
    [[0.0], [0.0], [0.0], [1.0], [0.0]]
    """
    low = np.median(similarities, axis=0)
    span = similarities.max(axis=0) - low
    if len(similarities) == 1:
        return np.ones_like(similarities)
    shares: NDArray[np.float32] = np.clip((similarities - low) / np.where(span > 1e-6, span, np.inf), 0, 1)
    return shares.astype(np.float32)


def grid_shape(width: float, height: float) -> tuple[int, int]:
    """Rows and columns of the grid for a page, with cells that are about square.

    >>> grid_shape(612, 792), grid_shape(1000, 10)
    ((166, 128), (2, 166))
    """
    longer = max(width, height)
    return max(1, round(LONG_SIDE * height / longer)), max(1, round(LONG_SIDE * width / longer))


def rasterise(
    values: NDArray[np.float32], boxes: NDArray[np.float32], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Values drawn into a grid. Where boxes overlap the largest value counts; cells without a box are 0.

    Args:
        values: (n, words)
        boxes: (n, 4) in page units; each covers at least one cell.
        shape: (rows, columns)

    Returns:
        (words, rows, columns)
    """
    rows, columns = shape
    grids = np.zeros((values.shape[1], rows, columns), np.float32)
    edges = np.rint(boxes * np.array([columns, rows, columns, rows], np.float32)).astype(int)
    lows = np.clip(edges[:, :2], 0, [columns - 1, rows - 1])
    highs = np.maximum(edges[:, 2:], lows + 1)
    for value, (x0, y0), (x1, y1) in zip(values, lows, highs, strict=True):
        cells = grids[:, y0:y1, x0:x1]
        np.maximum(cells, value[:, None, None], out=cells)
    return grids
