"""ImageBind loaded: images, texts and recordings to vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from docrag.encode.options import EncoderOptions
from docrag.encode.runtime.batches import must_fit
from docrag.encode.runtime.device import choose_device, choose_dtype
from docrag.encode.vectors.norms import softmax
from imagebind_docrag.inputs import clips_of, pixels_of
from imagebind_docrag.library import load_library
from imagebind_docrag.weights import SCALE, load_model

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_SCALE = 100.0
"""The model's own bound on its temperature."""


class ImageBindTowers:
    """Three towers of ImageBind on a device.

    Args:
        weights: Their file.
        options: Device and precision.
        dim: Length of the vectors.

    Raises:
        ModelUnavailable: The library or the file cannot be read.
        WeightsMismatch: The file is not one of ImageBind's.
        ModelError: It does not fit into memory.
    """

    def __init__(self, weights: Path, options: EncoderOptions, dim: int) -> None:
        library = load_library()
        self.device = choose_device(options.device)
        self._dtype = choose_dtype(options.dtype, self.device)
        self._tokenizer = library.tokenizer
        model = load_model(library.model_class, weights, dim)
        self._scale = min(math.exp(float(model.state_dict()[SCALE])), MOST_SCALE)
        with must_fit("imagebind", self.device):
            self._model = model.to(self.device, self._dtype)

    def encode_images(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(n, dim), of any length; RGB images, of which the middle square is seen."""
        return self._run("vision", self._numbers(np.stack([pixels_of(image) for image in images])))

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim), of any length; texts of more than 77 tokens are cut."""
        tokens = torch.stack([self._tokenizer(text) for text in texts])
        return self._run("text", tokens.to(self.device))

    def encode_audio(self, path: Path) -> NDArray[np.float32]:
        """(dim,), the mean over three clips of a recording.

        Raises:
            QueryError: It cannot be read.
        """
        [row] = self._run("audio", self._numbers(clips_of(path)[None]))
        return np.asarray(row, np.float32)

    def probabilities(self, cosines: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, labels): of each text, given that one of them is right."""
        return softmax(cosines * np.float32(self._scale))

    def _numbers(self, values: NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(values).to(self.device, self._dtype)

    def _run(self, tower: str, inputs: Any) -> NDArray[np.float32]:
        with torch.inference_mode():
            found: NDArray[np.float32] = self._model({tower: inputs})[tower].float().cpu().numpy()
        return found
