"""colpali-engine by itself, as a reference for docrag: its own model and processor."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image

from docrag.encode.base import EncoderOptions
from docrag.encode.models.colpali import ARCHITECTURES, architecture_of
from docrag.types import MultiVector

CLASSES = {architecture.name: architecture.model_class for architecture in ARCHITECTURES}
"""The class of the model, by the name of its tiny checkpoint, which is that of the architecture."""
FULL = list(CLASSES)
"""The tiny checkpoints of all architectures of colpali-engine."""


def options(**limits: int) -> EncoderOptions:
    """What tests run encoders with."""
    return EncoderOptions(device="cpu", dtype="float32", batch_size=3, **limits)


def engine() -> Any:
    """The classes of colpali-engine."""
    import colpali_engine.models

    return colpali_engine.models


def reference(family: str, path: str) -> tuple[Any, Any]:
    """Model and processor, straight from the library, with its own kind of attention."""
    architecture = architecture_of(CLASSES[family])
    model = getattr(engine(), architecture.model_class).from_pretrained(path).eval()
    if family == "colpali":
        model.model.lm_head = torch.nn.Identity()  # it is on the meta device
    return model, getattr(engine(), architecture.processor).from_pretrained(path)


def straight(model: Any, inputs: Any) -> torch.Tensor:
    """The rows of one page or query, without padding."""
    inputs.pop("labels", None)
    with torch.inference_mode():
        return model(**inputs)[0]


def images_of(processor: Any, images: Sequence[Image]) -> Any:
    """Inputs of pages; PaliGemma's processor copies tensors in a way that numpy will drop."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept", DeprecationWarning)
        return processor.process_images(images)


def patches(multi: MultiVector) -> NDArray[np.float32]:
    """(n, 4) the boxes of the vectors that have a place on the page."""
    assert multi.boxes is not None
    return multi.boxes[~np.isnan(multi.boxes[:, 0])]
