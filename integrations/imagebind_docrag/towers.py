"""The loaded model: images, texts and recordings to vectors."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from docrag.encode.base import EncoderOptions
from docrag.encode.runtime.batches import must_fit
from docrag.encode.runtime.device import choose_device, choose_dtype
from docrag.encode.vectors.norms import softmax
from imagebind_docrag.inputs import clips_of, pixels_of
from imagebind_docrag.library import load_library
from imagebind_docrag.weights import SCALE, load_imagebind_model

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)

MAX_SCALE = 100.0
"""The model's own limit for its temperature."""


class ImageBindTowers:
    """The towers of ImageBind for images, texts and recordings, on a device.

    Args:
        weights: The file of the weights.
        options: Device and precision.
        dim: Length of the vectors.

    Raises:
        ModelUnavailable: The library cannot be imported, or the file cannot be read.
        WeightsMismatch: The file does not hold the weights of ImageBind.
        ModelError: The model does not fit into memory.
    """

    def __init__(self, weights: Path, options: EncoderOptions, dim: int) -> None:
        library = load_library()
        self.device = choose_device(options.device)
        self._dtype = choose_dtype(options.dtype, self.device)
        self._tokenizer = library.tokenizer
        model = load_imagebind_model(library.model_class, weights, dim)
        self._scale = min(math.exp(float(model.state_dict()[SCALE])), MAX_SCALE)
        with must_fit("imagebind", self.device):
            self._model = model.to(self.device, self._dtype)
        logger.info("ImageBind runs on %s in %s", self.device, self._dtype)

    def encode_images(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Embed the middle squares of RGB images: (n, dim), not normalised."""
        return self._run("vision", self._as_tensor(np.stack([pixels_of(image) for image in images])))

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts, truncated to 77 tokens: (n, dim), not normalised."""
        tokens = torch.stack([self._tokenizer(text) for text in texts])
        return self._run("text", tokens.to(self.device))

    def encode_audio(self, path: Path) -> NDArray[np.float32]:
        """Embed a recording as the mean of its three clips: (dim,), not normalised.

        Raises:
            QueryError: The file cannot be read.
        """
        [row] = self._run("audio", self._as_tensor(clips_of(path)[None]))
        return np.asarray(row, np.float32)

    def probabilities(self, cosines: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn cosines into the probability of each label, (n, labels), if exactly one of them is right."""
        return softmax(cosines * np.float32(self._scale))

    def _as_tensor(self, values: NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(values).to(self.device, self._dtype)

    def _run(self, tower: str, inputs: Any) -> NDArray[np.float32]:
        with torch.inference_mode():
            rows: NDArray[np.float32] = self._model({tower: inputs})[tower].float().cpu().numpy()
        return rows
