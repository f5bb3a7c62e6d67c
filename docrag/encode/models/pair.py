"""An image model with a separate text model in the same space: IMAGE+TEXT, as for multilingual CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from docrag.encode.base import EncoderOptions, TextEncoder
from docrag.encode.models.towers import Towers, TwoTowerEncoder
from docrag.errors import WeightsMismatch


def halves(name: str) -> tuple[str, str] | None:
    """The image model and the text model that a name means; None if it means a single model.

    >>> halves("clip-vit-b-32+my/text-model@abc")
    ('clip-vit-b-32', 'my/text-model@abc')
    """
    if "+" not in name or _is_directory(name):
        return None
    pairs = [(name[:i], name[i + 1 :]) for i, letter in enumerate(name) if letter == "+"]
    return max(pairs, key=_letters_of_directories)


def pinned(model: str, revision: str) -> str:
    """A model with its revision; for a pair, each half with its own.

    >>> pinned("a/image+b/text", "123+456")
    'a/image@123+b/text@456'
    """
    pair = halves(model) if "+" in revision else None
    if not pair:
        return f"{model}@{revision}" if revision else model
    return "+".join(pinned(*half) for half in zip(pair, revision.split("+"), strict=True))


def open_pair(image: Any, text: Any, options: EncoderOptions) -> TwoTowerEncoder:
    """An encoder of an image model and of a text model that was trained for the same space.

    Args:
        image: The encoder of the image model.
        text: The encoder of the text model.
        options: How they are run.

    Raises:
        WeightsMismatch: One of them is of the wrong kind, or their vectors differ in length.
    """
    image_spec, text_spec = image.spec, text.spec
    if not isinstance(image, TwoTowerEncoder):
        raise WeightsMismatch(
            f"{image_spec.model} has no image tower for {text_spec.model}",
            "put a CLIP or SigLIP model before the plus",
        )
    if text_spec.kind != "text":
        raise WeightsMismatch(
            f"{text_spec.model} is not a text model",
            "put a model of sentence-transformers, with modules.json, after the plus",
        )
    if image_spec.dim != text_spec.dim:
        raise WeightsMismatch(
            f"{image_spec.model} gives vectors of {image_spec.dim} numbers, "
            f"{text_spec.model} of {text_spec.dim}",
            "use the text model that was trained for this image model",
        )
    has_revision = image_spec.revision or text_spec.revision
    spec = replace(
        image_spec,
        family=f"{image_spec.family}+text",
        model=f"{image_spec.model}+{text_spec.model}",
        revision=f"{image_spec.revision}+{text_spec.revision}" if has_revision else "",
        digest=sha256(f"{image_spec.digest} {text_spec.digest}".encode()).hexdigest(),
    )
    return TwoTowerEncoder(spec, lambda: PairTowers(image.towers, text), options)


class PairTowers:
    """Images are encoded by one model, texts by another.

    Args:
        image: Towers of which the image tower is used.
        text: Encodes texts in any language, and never takes one for a path.
    """

    def __init__(self, image: Towers, text: TextEncoder) -> None:
        self._text = text
        self.device = image.device
        self.encode_images = image.encode_images
        self.probabilities = image.probabilities  # with the temperature of the image model

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim), rows L2-normalised."""
        return self._text.encode_queries(texts)


def _letters_of_directories(pair: tuple[str, str]) -> int:
    """How many letters of a pair are paths of directories: a directory may have a plus in its name."""
    return sum(len(half) for half in pair if _is_directory(half))


def _is_directory(name: str) -> bool:
    return Path(name).expanduser().is_dir()
