"""Late interaction through colpali-engine, the library of ColPali's authors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from docrag.encode.base import ModelSpec
from docrag.encode.checkpoint import Checkpoint
from docrag.encode.grid import grid_boxes, place
from docrag.encode.late import LateEncoder
from docrag.encode.options import EncoderOptions
from docrag.encode.torchvision import mend_torchvision
from docrag.errors import ModelUnavailable
from docrag.types import MultiVector

if TYPE_CHECKING:
    from PIL.Image import Image

Inputs = Any
"""A BatchFeature of transformers: tensors by name."""
Boxes = Callable[[Any, Inputs, int], NDArray[np.float32]]
"""(processor, inputs of a batch, position in it) -> (patches, 4), in the order of the image tokens."""


@dataclass(frozen=True, slots=True)
class Family:
    """What is particular to an architecture of colpali-engine."""

    name: str
    processor: str
    boxes: Boxes
    dim: int = 128
    image_side: int = 1280


def qwen_boxes(processor: Any, inputs: Inputs, i: int) -> NDArray[np.float32]:
    """The grid that the image processor made of the image, patches merged two by two."""
    merge = processor.image_processor.merge_size
    _, rows, columns = (int(side) for side in inputs["image_grid_thw"][i])
    return grid_boxes(columns // merge, rows // merge)


FAMILIES: Mapping[str, Family] = {
    "ColQwen2": Family("colqwen2", "ColQwen2Processor", qwen_boxes),
}
"""By the class of the model."""


def open_colpali(checkpoint: Checkpoint, options: EncoderOptions) -> LateEncoder:
    """An encoder of a checkpoint or LoRA adapter of colpali-engine; weights are loaded when needed.

    Raises:
        ModelUnavailable: colpali-engine is not installed.
    """
    family = FAMILIES[checkpoint.architecture]
    spec = ModelSpec(
        family=family.name,
        model=checkpoint.model,
        revision=checkpoint.revision,
        digest=checkpoint.digest,
        library="colpali-engine",
        dim=family.dim,
        kind="late",
        needs="image",
        licence="",
        recipe="all tokens",
        image_side=options.resolution or family.image_side,
        resolution=options.resolution,
        max_patches=options.max_patches,
    )
    return LateEncoder(spec, lambda: ColPaliModel(checkpoint, family, options), options)


class ColPaliModel:
    """A model of colpali-engine with its processor."""

    def __init__(self, checkpoint: Checkpoint, family: Family, options: EncoderOptions) -> None:
        mend_torchvision()
        try:
            import colpali_engine.models as engine
        except ImportError as error:
            raise ModelUnavailable(
                f"{checkpoint.model} needs colpali-engine: {error}", "pip install 'docrag-qdrant[colpali]'"
            ) from error
        import torch

        from docrag.encode.loading import load_model, to_device

        self._torch = torch
        self._family = family
        self._processor = getattr(engine, family.processor).from_pretrained(str(checkpoint.path))
        self._model = load_model(getattr(engine, checkpoint.architecture), checkpoint, options)
        self.device = to_device(self._model, options)

    def encode_images(self, images: Sequence[Image]) -> list[MultiVector]:
        """(n, dim) a page: its patches, and the tokens of the prompt, which stand nowhere."""
        inputs = self._processor.process_images(list(images))
        found = []
        for i, rows in enumerate(self._forward(inputs)):
            kept = inputs["attention_mask"][i].bool()
            at = (inputs["input_ids"][i][kept] == self._processor.image_token_id).numpy()
            found.append(MultiVector(rows, place(self._family.boxes(self._processor, inputs, i), at)))
        return found

    def encode_texts(self, texts: Sequence[str]) -> list[MultiVector]:
        """(n, dim) a query: its tokens and ten more, in which the model was trained to think."""
        inputs = self._processor.process_queries(list(texts))
        return [MultiVector(rows) for rows in self._forward(inputs)]

    def _forward(self, inputs: Inputs) -> list[NDArray[np.float32]]:
        """One pass; rows of padding are cut off, since they may be NaN."""
        with self._torch.inference_mode():
            output = self._model(**inputs.to(self.device))  # (batch, tokens, dim)
        return [
            rows[mask.bool()].float().cpu().numpy()
            for rows, mask in zip(output, inputs["attention_mask"], strict=True)
        ]
