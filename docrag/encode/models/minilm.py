"""minilm, the encoder that needs no download: all-MiniLM-L6-v2, whose weights come in a package.

Its token outputs, one vector a word with stop words and punctuation left out, are a late-interaction model of
the page's text. Beside its words a page has vectors that stand nowhere: those of the document's title, and
one for each section of the page, which the vector of the whole query meets. Every choice was measured on the
development set (nDCG@10, late mode): the words alone 0.656, with the title's words 0.659, years split off
and numbers counted twice 0.673, sections and the whole query 0.684, a vector a word and not a piece 0.686.

The model sees words only: what a picture shows and no word says stays hidden from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from docrag.encode.base import ModelSpec
from docrag.encode.models.minilm_model import CLS, DIGEST, DIM, SEP, MiniLM, Pieces, load
from docrag.encode.options import EncoderOptions
from docrag.encode.stop_words import ASKING_WORDS, content
from docrag.encode.vectors.norms import normalised
from docrag.encode.words import words_at
from docrag.encode.years import split_years
from docrag.types import MultiVector, Page

WINDOW = 256
"""Word pieces of the page in one pass; what the model was trained on."""
SECTION = 128
"""Word pieces that share a section's vector."""
MOST_SECTIONS = 256
"""Sections of a page; on longer pages they are longer, since all its vectors must stay below 2^20 floats."""
TITLE = 32
"""Word pieces of the document's title that count."""
TITLE_IN_SECTION, TITLE_IN_SUMMARY = 0.3, 0.5
"""Share of the title in the vector of a section and of the page."""
NUMBER_WEIGHT = 2.0
"""What a number counts in a query, where other words count 1."""
WHOLE_QUERY_WEIGHT = 0.3
"""What the vector of the whole query counts, as a share of all its words."""
LONGEST_QUERY = 254
MOST_WORDS = 2048
"""Vectors of words that a page has at most; where it has more words, neighbours share one."""


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
        self._options = options or EncoderOptions()

    def encode_pages(self, pages: Sequence[Page]) -> list[MultiVector]:
        """A vector a word that says something, with its box; before them those of title and sections."""
        model = load(self._options.devices[0], self._options.dtype)
        titles = _encode_titles(model, [page.document.title for page in pages])
        texts = [model.pieces([word.text for word in page.words]) for page in pages]
        parts = [
            (i, part)
            for i, text in enumerate(texts)
            for part in equal_parts(len(text.ids), -(-len(text.ids) // WINDOW))
        ]
        states: list[list[NDArray[np.float32]]] = [[] for _ in pages]
        windows = model.hidden_states([[CLS, *texts[i].ids[part], SEP] for i, part in parts])
        for (i, _), state in zip(parts, windows, strict=True):
            states[i].append(state)
        return [
            page_vectors(
                page, text, np.concatenate([state[1:-1] for state in of_page]), titles[page.document.title]
            )
            for page, text, of_page in zip(pages, texts, states, strict=True)
        ]

    def encode_queries(self, texts: Sequence[str]) -> list[MultiVector]:
        """A vector a word piece that says something, numbers longer, and one for the whole query."""
        model = load(self._options.devices[0], self._options.dtype)
        split = [split_years(text) for text in texts]
        pieces = [model.pieces([text]).cut(LONGEST_QUERY) for text in split]
        states = model.hidden_states([[CLS, *piece.ids, SEP] for piece in pieces])
        return [
            query_vectors(piece.tokens, words_at(text, piece.spans), state)
            for text, piece, state in zip(split, pieces, states, strict=True)
        ]


class MiniLMText:
    """The sentence embedding: the mean of all token outputs, as the model was trained."""

    spec = _spec("text")

    def __init__(self, options: EncoderOptions | None = None) -> None:
        self._options = options or EncoderOptions()

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), 384), rows L2-normalised; the first WINDOW word pieces of each text count."""
        model = load(self._options.devices[0], self._options.dtype)
        states = model.hidden_states([[CLS, *model.pieces([text]).ids[:WINDOW], SEP] for text in texts])
        return normalised(np.array([state.mean(axis=0) for state in states], np.float32).reshape(-1, DIM))

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The same, years split off: the model knows no difference between passage and query."""
        return self.encode_passages([split_years(text) for text in texts])


def _encode_titles(model: MiniLM, titles: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """The vectors of each title's words: (words, 384), rows L2-normalised."""
    distinct = sorted(set(titles))
    pieces = [model.pieces([title]).cut(TITLE) for title in distinct]
    states = model.hidden_states([[CLS, *piece.ids, SEP] for piece in pieces])
    return {
        title: normalised(state[1:-1][np.array(content(piece.tokens), bool)])
        for title, piece, state in zip(distinct, pieces, states, strict=True)
    }


def page_vectors(
    page: Page, text: Pieces, states: NDArray[np.float32], title: NDArray[np.float32]
) -> MultiVector:
    """What is kept of a page.

    Args:
        page: For the boxes of its words.
        text: Its n word pieces.
        states: (n, 384) their last hidden states.
        title: (t, 384) the vectors of the document's title.

    Returns:
        Title, sections, words: in this order; its summary is the mean of the page and its title.
    """
    title_mean = normalised(title.mean(axis=0)) if len(title) else np.zeros(DIM, np.float32)
    parts = equal_parts(len(states), min(round(len(states) / SECTION), MOST_SECTIONS)) if len(states) else []
    sections = [states[part].mean(axis=0) for part in parts]
    about = normalised(np.array(sections, np.float32).reshape(-1, DIM)) + TITLE_IN_SECTION * title_mean
    vectors, boxes = word_vectors(page, text, states)
    nowhere = np.concatenate([title, normalised(about)])
    if not len(nowhere):  # neither words nor a title
        nowhere = normalised(np.ones((1, DIM), np.float32))
    whole = normalised(states.mean(axis=0)) if len(states) else np.zeros(DIM, np.float32)
    summary = whole + TITLE_IN_SUMMARY * title_mean
    return MultiVector(
        np.concatenate([nowhere, vectors]),
        np.concatenate([np.full((len(nowhere), 4), np.nan, np.float32), boxes]),
        normalised(summary if summary.any() else nowhere[0]),
    )


def word_vectors(
    page: Page, text: Pieces, states: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The mean of each word's pieces that say something, (w, 384), L2-normalised, and their boxes, (w, 4)."""
    keep = np.flatnonzero(content(text.tokens))
    if not len(keep):
        return np.empty((0, DIM), np.float32), np.empty((0, 4), np.float32)
    words, group = np.unique(np.array(text.words)[keep], return_inverse=True)
    group = group * MOST_WORDS // max(MOST_WORDS, len(words))
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    sums = np.add.reduceat(normalised(states[keep]), starts, axis=0)
    boxes = np.array([word.box for word in page.words], np.float32)[np.array(text.words)[keep]]
    lows, highs = (
        of.reduceat(boxes[:, at], starts, axis=0) for of, at in ((np.minimum, [0, 1]), (np.maximum, [2, 3]))
    )
    return normalised(sums), np.concatenate([lows, highs], axis=1)


def query_vectors(tokens: Sequence[str], words: Sequence[str], state: NDArray[np.float32]) -> MultiVector:
    """What a query is searched with; longer vectors count more.

    Args:
        tokens: Its n word pieces.
        words: The word that each of them is of.
        state: (n + 2, 384) the last hidden states, with [CLS] and [SEP].
    """
    says = np.array(content(tokens, ASKING_WORDS), bool)
    if not says.any():
        says[:] = True
    weights = np.array(
        [NUMBER_WEIGHT if any(c.isdigit() for c in token) else 1.0 for token in tokens], np.float32
    )[says]
    summary = normalised(state.mean(axis=0))
    whole = summary * np.float32(WHOLE_QUERY_WEIGHT * max(1.0, float(weights.sum())))
    rows = normalised(state[1:-1][says]) * weights[:, None]
    said = tuple(word for word, kept in zip(words, says, strict=True) if kept)
    return MultiVector(np.concatenate([rows, whole[None]]), summary=summary, words=(*said, ""))


def equal_parts(length: int, count: int) -> list[slice]:
    """Cut a sequence into parts of equal length, one at least.

    >>> equal_parts(5, 2)
    [slice(0, 2, None), slice(2, 5, None)]
    """
    count = max(1, count)
    return [slice(length * i // count, length * (i + 1) // count) for i in range(count)]
