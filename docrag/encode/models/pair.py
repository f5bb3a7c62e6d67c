"""An image model and a text model of one space, each by itself: IMAGE+TEXT, as for multilingual CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from docrag.encode.base import TextEncoder
from docrag.encode.models.towers import Towers, TwoTowerEncoder
from docrag.encode.options import EncoderOptions
from docrag.errors import WeightsMismatch


def halves(name: str) -> tuple[str, str] | None:
    """The image model and the text model that a name means; None where it means one model.

    >>> halves("clip-vit-b-32+my/text-model@abc")
    ('clip-vit-b-32', 'my/text-model@abc')
    """
    if "+" not in name or _is_directory(name):
        return None
    cuts = [(name[:i], name[i + 1 :]) for i, letter in enumerate(name) if letter == "+"]
    return max(cuts, key=_known)


def pinned(model: str, revision: str) -> str:
    """A model with its revision; of a pair, each half with its own.

    >>> pinned("a/image+b/text", "123+456")
    'a/image@123+b/text@456'
    """
    pair = halves(model) if "+" in revision else None
    if not pair:
        return f"{model}@{revision}" if revision else model
    return "+".join(pinned(*half) for half in zip(pair, revision.split("+"), strict=True))


def open_pair(image: Any, text: Any, options: EncoderOptions) -> TwoTowerEncoder:
    """An encoder of an image model and a text model that was trained to meet it.

    Args:
        image: The encoder of the image model.
        text: The encoder of the text model.
        options: How they are run.

    Raises:
        WeightsMismatch: One of them is not what it should be, or their vectors differ in length.
    """
    ours, theirs = image.spec, text.spec
    if not isinstance(image, TwoTowerEncoder):
        raise WeightsMismatch(
            f"{ours.model} has no image tower for {theirs.model}",
            "put a CLIP or SigLIP model before the plus",
        )
    if theirs.kind != "text":
        raise WeightsMismatch(
            f"{theirs.model} is no text model",
            "put one of sentence-transformers, with modules.json, after the plus",
        )
    if ours.dim != theirs.dim:
        raise WeightsMismatch(
            f"{ours.model} gives vectors of {ours.dim} numbers, {theirs.model} of {theirs.dim}",
            "take the text model that was trained for this image model",
        )
    spec = replace(
        ours,
        family=f"{ours.family}+text",
        model=f"{ours.model}+{theirs.model}",
        revision=f"{ours.revision}+{theirs.revision}" if ours.revision or theirs.revision else "",
        digest=sha256(f"{ours.digest} {theirs.digest}".encode()).hexdigest(),
    )
    return TwoTowerEncoder(spec, lambda: PairTowers(image.towers, text), options)


class PairTowers:
    """Images by one model, texts by another.

    Args:
        image: Towers of which the one for images is used.
        text: Encodes texts of any language, and never takes one for a path.
    """

    def __init__(self, image: Towers, text: TextEncoder) -> None:
        self._text = text
        self.device = image.device
        self.encode_images = image.encode_images
        self.probabilities = image.probabilities  # with the temperature of the image model

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim), normalised."""
        return self._text.encode_queries(texts)


def _known(cut: tuple[str, str]) -> int:
    """How much of a cut are paths of directories: one of them may have a plus in its name."""
    return sum(len(half) for half in cut if _is_directory(half))


def _is_directory(name: str) -> bool:
    return Path(name).expanduser().is_dir()
