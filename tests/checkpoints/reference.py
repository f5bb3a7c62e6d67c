"""colpali-engine by itself, to compare docrag with: its own processor, model and nothing of docrag's."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from docrag.encode.models.colpali_families import FAMILIES as ARCHITECTURES
from numpy.typing import NDArray
from PIL.Image import Image

from docrag.encode.options import EncoderOptions
from docrag.types import MultiVector

FULL = ["colpali", "colqwen2", "colqwen2.5", "colqwen3", "colqwen3.5"]
FULL += ["colidefics3", "colmodernvbert", "colgemma3"]
CLASSES = dict(zip(FULL, ARCHITECTURES, strict=True))
"""Class of the model by the name of its tiny checkpoint."""


def options(**asked: int) -> EncoderOptions:
    """What tests run encoders with."""
    return EncoderOptions(device="cpu", dtype="float32", batch_size=3, **asked)


def engine() -> Any:
    """The classes of colpali-engine."""
    import colpali_engine.models

    return colpali_engine.models


def reference(family: str, path: str) -> tuple[Any, Any]:
    """Model and processor, straight from the library, with its own kind of attention."""
    architecture = CLASSES[family]
    model = getattr(engine(), architecture).from_pretrained(path).eval()
    if family == "colpali":
        model.model.lm_head = torch.nn.Identity()  # it is on the meta device
    return model, getattr(engine(), ARCHITECTURES[architecture].processor).from_pretrained(path)


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
    """(n, 4) boxes of the vectors that stand on the page."""
    assert multi.boxes is not None
    return multi.boxes[~np.isnan(multi.boxes[:, 0])]
