"""minilm, the encoder that needs no download: all-MiniLM-L6-v2, whose weights come in a Python package.

Its token outputs, one vector per word without stop words and punctuation, are a late-interaction model of the
page's text. Besides the vectors of its words, a page has vectors without a place on the page: those of the
document's title, and one for each section of the page, which match the vector of the whole query. Every
choice was measured on the development set (nDCG@10, late mode): the words alone 0.656, with the words of the
title 0.659, years split off and numbers counted twice 0.673, sections and the whole query 0.684, one vector
per word instead of per word piece 0.686.

The model sees words only: the content of a picture that no word mentions stays hidden from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from docrag.encode.base import EncoderOptions, Family, ModelSpec
from docrag.encode.models.minilm_model import CLS, DIGEST, DIM, SEP, MiniLM, Pieces, Purpose, load
from docrag.encode.texts import QUESTION_WORDS, is_content, split_years, words_at
from docrag.encode.vectors.norms import normalised
from docrag.types import MultiVector, Page

WINDOW = 256
"""Word pieces of a page per forward pass: the length the model was trained on."""
SECTION = 128
"""Word pieces that share one section vector."""
MAX_SECTIONS = 256
"""Sections of a page. Those of longer pages are longer, since a page must stay below 2^20 floats."""
MAX_WORDS = 2048
"""Word vectors of a page; if it has more words, neighbouring words share one."""
TITLE_PIECES = 32
"""Word pieces of the document's title that count."""
TITLE_IN_SECTION = 0.3
TITLE_IN_SUMMARY = 0.5
"""Weight of the title in the vector of a section and in that of the page."""
NUMBER_WEIGHT = 2.0
"""Weight of a number in a query; other words weigh 1."""
WHOLE_QUERY_WEIGHT = 0.3
"""Weight of the vector of the whole query, as a share of the weight of all its words."""
MAX_QUERY_PIECES = 254


def _spec(kind: Literal["late", "text"]) -> ModelSpec:
    return ModelSpec(
        family="minilm",
        model="sentence-transformers/all-MiniLM-L6-v2",
        revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        digest=DIGEST,
        library="docrag",
        dim=DIM,
        kind=kind,
        needs="words",
        licence="Apache-2.0",
        recipe="words, title and sections; version 1",
    )


class MiniLMPages:
    """A late-interaction encoder of the words of a page."""

    spec = _spec("late")

    def __init__(self, options: EncoderOptions | None = None) -> None:
        options = options or EncoderOptions()
        self._device = options.devices[0]
        self._dtype = options.dtype

    def encode_pages(self, pages: Sequence[Page]) -> list[MultiVector]:
        """A vector with a box for each word that carries meaning, after those of title and sections."""
        model = load(self._device, self._dtype, "pages")
        titles = _encode_titles(model, [page.document.title for page in pages])
        texts = [model.pieces([word.text for word in page.words]) for page in pages]
        windows = [
            (i, window)
            for i, text in enumerate(texts)
            for window in equal_parts(len(text.ids), -(-len(text.ids) // WINDOW))
        ]
        outputs = model.hidden_states([[CLS, *texts[i].ids[window], SEP] for i, window in windows])
        states: list[list[NDArray[np.float32]]] = [[] for _ in pages]
        for (i, _), output in zip(windows, outputs, strict=True):
            states[i].append(output[1:-1])
        return [
            page_vectors(page, text, np.concatenate(page_states), titles[page.document.title])
            for page, text, page_states in zip(pages, texts, states, strict=True)
        ]

    def encode_queries(self, texts: Sequence[str]) -> list[MultiVector]:
        """A vector for each word piece that carries meaning (longer for numbers), and one for the query."""
        model = load(self._device, self._dtype, "queries")
        split_texts = [split_years(text) for text in texts]
        pieces = [model.pieces([text]).cut(MAX_QUERY_PIECES) for text in split_texts]
        states = model.hidden_states([[CLS, *text_pieces.ids, SEP] for text_pieces in pieces])
        return [
            query_vectors(text_pieces.tokens, words_at(text, text_pieces.spans), state)
            for text, text_pieces, state in zip(split_texts, pieces, states, strict=True)
        ]


class MiniLMText:
    """The sentence embedding: the mean of all token outputs, as the model was trained."""

    spec = _spec("text")

    def __init__(self, options: EncoderOptions | None = None) -> None:
        options = options or EncoderOptions()
        self._device = options.devices[0]
        self._dtype = options.dtype

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), 384), rows L2-normalised; the first WINDOW word pieces of each text count."""
        return self._encode(texts, "pages")

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The same with years split off; the model does not distinguish passages from queries."""
        return self._encode([split_years(text) for text in texts], "queries")

    def _encode(self, texts: Sequence[str], purpose: Purpose) -> NDArray[np.float32]:
        model = load(self._device, self._dtype, purpose)
        states = model.hidden_states([[CLS, *model.pieces([text]).ids[:WINDOW], SEP] for text in texts])
        return normalised(np.array([state.mean(axis=0) for state in states], np.float32).reshape(-1, DIM))


FAMILY = Family(
    library="docrag",
    why="built in; needs no download",
    pages={"minilm": MiniLMPages},
    texts={"minilm": MiniLMText},
)


def _encode_titles(model: MiniLM, titles: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """The vectors of each title's words: (words, 384), rows L2-normalised."""
    distinct = sorted(set(titles))
    pieces = [model.pieces([title]).cut(TITLE_PIECES) for title in distinct]
    states = model.hidden_states([[CLS, *title_pieces.ids, SEP] for title_pieces in pieces])
    return {
        title: normalised(state[1:-1][np.array(is_content(title_pieces.tokens), bool)])
        for title, title_pieces, state in zip(distinct, pieces, states, strict=True)
    }


def page_vectors(
    page: Page, text: Pieces, states: NDArray[np.float32], title: NDArray[np.float32]
) -> MultiVector:
    """The vectors that are kept of a page.

    Args:
        page: The page, for the boxes of its words.
        text: Its n word pieces.
        states: (n, 384) their last hidden states.
        title: (t, 384) the vectors of the document's title.

    Returns:
        Title, sections and words, in this order; the summary is the mean of the page and its title.
    """
    title_mean = normalised(title.mean(axis=0)) if len(title) else np.zeros(DIM, np.float32)
    parts = equal_parts(len(states), min(round(len(states) / SECTION), MAX_SECTIONS)) if len(states) else []
    section_means = np.array([states[part].mean(axis=0) for part in parts], np.float32).reshape(-1, DIM)
    sections = normalised(normalised(section_means) + TITLE_IN_SECTION * title_mean)
    words, boxes = word_vectors(page, text, states)
    unplaced = np.concatenate([title, sections])
    if not len(unplaced):  # neither words nor a title
        unplaced = normalised(np.ones((1, DIM), np.float32))
    page_mean = normalised(states.mean(axis=0)) if len(states) else np.zeros(DIM, np.float32)
    summary = page_mean + TITLE_IN_SUMMARY * title_mean
    return MultiVector(
        np.concatenate([unplaced, words]),
        np.concatenate([np.full((len(unplaced), 4), np.nan, np.float32), boxes]),
        normalised(summary if summary.any() else unplaced[0]),
    )


def word_vectors(
    page: Page, text: Pieces, states: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The mean of each word's meaningful pieces, (w, 384) L2-normalised, and the words' boxes, (w, 4)."""
    keep = np.flatnonzero(is_content(text.tokens))
    if not len(keep):
        return np.empty((0, DIM), np.float32), np.empty((0, 4), np.float32)
    word_of_piece = np.array(text.words)[keep]
    words, group = np.unique(word_of_piece, return_inverse=True)
    group = group * MAX_WORDS // max(MAX_WORDS, len(words))
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    sums = np.add.reduceat(normalised(states[keep]), starts, axis=0)
    boxes = np.array([word.box for word in page.words], np.float32)[word_of_piece]
    top_left = np.minimum.reduceat(boxes[:, :2], starts, axis=0)
    bottom_right = np.maximum.reduceat(boxes[:, 2:], starts, axis=0)
    return normalised(sums), np.concatenate([top_left, bottom_right], axis=1)


def query_vectors(tokens: Sequence[str], words: Sequence[str], state: NDArray[np.float32]) -> MultiVector:
    """The vectors that a query is searched with; longer vectors weigh more.

    Args:
        tokens: Its n word pieces.
        words: The word that each of them belongs to.
        state: (n + 2, 384) the last hidden states, with [CLS] and [SEP].
    """
    keep = np.array(is_content(tokens, QUESTION_WORDS), bool)
    if not keep.any():
        keep[:] = True
    has_digit = [any(letter.isdigit() for letter in token) for token in tokens]
    weights = np.where(has_digit, NUMBER_WEIGHT, 1.0).astype(np.float32)[keep]
    summary = normalised(state.mean(axis=0))
    whole_query = summary * np.float32(WHOLE_QUERY_WEIGHT * max(1.0, float(weights.sum())))
    rows = normalised(state[1:-1][keep]) * weights[:, None]
    kept_words = tuple(word for word, is_kept in zip(words, keep, strict=True) if is_kept)
    return MultiVector(np.concatenate([rows, whole_query[None]]), summary=summary, words=(*kept_words, ""))


def equal_parts(length: int, count: int) -> list[slice]:
    """Cut a sequence into parts of equal length, at least one.

    >>> equal_parts(5, 2)
    [slice(0, 2, None), slice(2, 5, None)]
    """
    count = max(1, count)
    return [slice(length * i // count, length * (i + 1) // count) for i in range(count)]
