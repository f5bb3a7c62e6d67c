"""The architectures of colpali-engine: what is particular to each, as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from docrag.encode.checkpoints.checkpoint import Checkpoint
from docrag.encode.models.image_grids import (
    THINNEST,
    Settings,
    limit_qwen,
    limit_tiles,
    qwen_grid,
    qwen_side,
    tile_grid,
    tiles_side,
)
from docrag.encode.options import KNOBS, EncoderOptions, refuse_knobs
from docrag.encode.vectors.grid import grid_boxes

Inputs = Any
"""A BatchFeature of transformers: tensors by name."""
Boxes = Callable[[Any, Any, Inputs, int], NDArray[np.float32]]
"""(processor, configuration of the model, inputs of a batch, position in it) -> (n, 4) boxes of the image
tokens, in their order; NaN for a token that stands nowhere."""


@dataclass(frozen=True, slots=True)
class Family:
    """What is particular to an architecture of colpali-engine."""

    name: str
    processor: str
    """Class in colpali_engine.models."""
    boxes: Boxes
    side: Callable[[Settings, EncoderOptions], int]
    """(settings of the image processor, options) -> pixels on the long side of the page image it wants."""
    limit: Callable[[Any, EncoderOptions], None] | None = None
    """Sets the processor to the resolution and patches asked for; None where the grid is fixed."""
    dim: int = 128
    dim_key: str = ""
    """Where config.json says another dimension."""
    thinnest: int = 0
    """How many times longer than wide an image may be; 0 for any."""
    language_head: bool = False
    """Whether it carries a language head that is never used."""
    types_queries: bool = False
    """Whether queries need token types: PaliGemma takes what has none for a page, and attends its padding."""

    @property
    def knobs(self) -> frozenset[str]:
        """Options of EncoderOptions that change what the model sees."""
        return frozenset(KNOBS if self.limit else ())

    def check(self, model: str, options: EncoderOptions) -> None:
        """Refuse options that this architecture does not have.

        Raises:
            SettingsError: Its grid is fixed, and another was asked for.
        """
        refuse_knobs(
            options,
            f"{model} ({self.name}) sees every page as the same square grid",
            "take a model of another family, such as colqwen2 or colsmol-256m",
            self.knobs,
        )

    def dimension(self, checkpoint: Checkpoint) -> int:
        """Length of its vectors, without loading the weights."""
        config = (checkpoint.base or checkpoint).json("config.json") or {}
        return int(config.get(self.dim_key) or self.dim)


def processor_home(checkpoint: Checkpoint) -> Checkpoint:
    """Where the processor lies: adapters may leave it to their base."""
    files = ("processor_config.json", "preprocessor_config.json")
    if checkpoint.base and not any((checkpoint.path / file).is_file() for file in files):
        return checkpoint.base
    return checkpoint


def square_boxes(processor: Any, config: Any, inputs: Inputs, i: int) -> NDArray[np.float32]:
    """ColPali stretches every page to one square, cut into patches."""
    size, patch = processor.image_processor.size, config.vision_config.patch_size
    return grid_boxes(size["width"] // patch, size["height"] // patch)


def pooled_boxes(processor: Any, config: Any, inputs: Inputs, i: int) -> NDArray[np.float32]:
    """Gemma 3 pools the patches of its square into fewer tokens."""
    side = isqrt(config.mm_tokens_per_image)
    return grid_boxes(side, side)


def qwen_boxes(processor: Any, config: Any, inputs: Inputs, i: int) -> NDArray[np.float32]:
    """The grid that the image processor made of the image."""
    return qwen_grid(processor, inputs["image_grid_thw"][i])


def idefics_boxes(processor: Any, config: Any, inputs: Inputs, i: int) -> NDArray[np.float32]:
    """The tiles that the prompt counts."""
    return tile_grid(processor, inputs["input_ids"][i])


def square_side(settings: Settings, options: EncoderOptions) -> int:
    """Twice the square, so that the short side of a page is not blown up when it is stretched to it."""
    size: Mapping[str, int] = settings.get("size") or {}
    return 2 * max(size.values(), default=448)


def _qwen(name: str, processor: str, dim: int = 128, dim_key: str = "") -> Family:
    return Family(name, processor, qwen_boxes, qwen_side, limit_qwen, dim, dim_key, thinnest=THINNEST)


FAMILIES: Mapping[str, Family] = {
    "ColPali": Family(
        "colpali", "ColPaliProcessor", square_boxes, square_side, language_head=True, types_queries=True
    ),
    "ColQwen2": _qwen("colqwen2", "ColQwen2Processor"),
    "ColQwen2_5": _qwen("colqwen2.5", "ColQwen2_5_Processor"),
    "ColQwen3": _qwen("colqwen3", "ColQwen3Processor", dim=320),
    "ColQwen3_5": _qwen("colqwen3.5", "ColQwen3_5Processor", dim_key="dim"),
    "ColIdefics3": Family("colidefics3", "ColIdefics3Processor", idefics_boxes, tiles_side, limit_tiles),
    "ColModernVBert": Family(
        "colmodernvbert", "ColModernVBertProcessor", idefics_boxes, tiles_side, limit_tiles
    ),
    "ColGemma3": Family("colgemma3", "ColGemmaProcessor3", pooled_boxes, square_side),
}
"""By the class of the model."""
