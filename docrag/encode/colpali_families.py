"""The architectures of colpali-engine: what is particular to each, as a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from docrag.encode.checkpoint import Checkpoint
from docrag.encode.grid import grid_boxes, tile_boxes
from docrag.encode.options import EncoderOptions
from docrag.errors import SettingsError

Inputs = Any
"""A BatchFeature of transformers: tensors by name."""
Boxes = Callable[[Any, Any, Inputs, int], NDArray[np.float32]]
"""(processor, configuration of the model, inputs of a batch, position in it) -> (n, 4) boxes of the image
tokens, in their order; NaN for a token that stands nowhere."""

PAGE = 1280
"""Pixels on the long side of a page for a model that takes any size: more than its 768 patches can show."""
TAGGED = 6
"""Tiles in a row or column that the tokenizers of Idefics3 have tags for."""
TILE_TAG = re.compile(r"<row_(\d+)_col_(\d+)>")


@dataclass(frozen=True, slots=True)
class Family:
    """What is particular to an architecture of colpali-engine."""

    name: str
    processor: str
    """Class in colpali_engine.models."""
    boxes: Boxes
    side: Callable[[Mapping[str, Any], EncoderOptions], int]
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
        return frozenset({"resolution", "max_patches"} if self.limit else ())

    def check(self, model: str, options: EncoderOptions) -> None:
        """Refuse options that this architecture does not have.

        Raises:
            SettingsError: Its grid is fixed, and another was asked for.
        """
        asked = [name for name in ("resolution", "max_patches") if getattr(options, name)]
        refused = [name for name in asked if name not in self.knobs]
        if refused:
            flags = " and ".join("--" + name.replace("_", "-") for name in refused)
            raise SettingsError(
                f"{model} ({self.name}) sees every page as the same square grid; {flags} cannot change it",
                f"leave out {flags}, or take a model of another family, such as colqwen2 or colsmol-256m",
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


def image_settings(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """The configuration of the image processor; empty where none is saved."""
    home = processor_home(checkpoint)
    together = (home.json("processor_config.json") or {}).get("image_processor")
    return together or home.json("preprocessor_config.json") or {}


def square_boxes(processor: Any, config: Any, inputs: Inputs, i: int) -> NDArray[np.float32]:
    """ColPali stretches every page to one square, cut into patches."""
    size, patch = processor.image_processor.size, config.vision_config.patch_size
    return grid_boxes(size["width"] // patch, size["height"] // patch)


def pooled_boxes(processor: Any, config: Any, inputs: Inputs, i: int) -> NDArray[np.float32]:
    """Gemma 3 pools the patches of its square into fewer tokens."""
    side = isqrt(config.mm_tokens_per_image)
    return grid_boxes(side, side)


def qwen_boxes(processor: Any, config: Any, inputs: Inputs, i: int) -> NDArray[np.float32]:
    """The grid that the image processor made of the image, patches merged two by two."""
    merge = processor.image_processor.merge_size
    _, rows, columns = (int(side) for side in inputs["image_grid_thw"][i])
    return grid_boxes(columns // merge, rows // merge)


def idefics_boxes(processor: Any, config: Any, inputs: Inputs, i: int) -> NDArray[np.float32]:
    """Tile after tile, as their tags in the prompt say; then the whole page once more, which stands nowhere.

    An image that fits into one tile is given once, and its patches stand where they are.
    """
    side = isqrt(processor.image_seq_len)
    prompt = "".join(processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][i].tolist()))
    tiles = [(int(row), int(column)) for row, column in TILE_TAG.findall(prompt)]
    if not tiles:
        return grid_boxes(side, side)
    rows, columns = (max(numbers) for numbers in zip(*tiles, strict=True))
    whole = np.full((side * side, 4), np.nan, np.float32)
    return np.concatenate([tile_boxes(columns, rows, side), whole])


def square_side(settings: Mapping[str, Any], options: EncoderOptions) -> int:
    """Twice the square, so that the short side of a page is not blown up when it is stretched to it."""
    size: Mapping[str, int] = settings.get("size") or {}
    return 2 * max(size.values(), default=448)


def qwen_side(settings: Mapping[str, Any], options: EncoderOptions) -> int:
    """Enough to fill the patches asked for on an A4 page, whose long side is 1.19 times that of a square."""
    patch = settings.get("patch_size") or 16
    tile = patch * (settings.get("merge_size") or 2)
    return max(PAGE, round(1.2 * tile * sqrt(options.max_patches)))


def tiles_side(settings: Mapping[str, Any], options: EncoderOptions) -> int:
    """What the image processor scales every page to."""
    return int((settings.get("size") or {}).get("longest_edge", 2048))


def limit_qwen(processor: Any, options: EncoderOptions) -> None:
    """Patches bound the area of the image; its long side is the page image's own."""
    if not options.max_patches:
        return
    images = processor.image_processor
    area = options.max_patches * (images.patch_size * images.merge_size) ** 2
    images.size = {"shortest_edge": min(images.size["shortest_edge"], area), "longest_edge": area}


def limit_tiles(processor: Any, options: EncoderOptions) -> None:
    """The long side is what counts: it says how many tiles a square page, the worst, is cut into.

    Raises:
        SettingsError: Fewer patches than a tile has, or more tiles than there are tags.
    """
    images = processor.image_processor
    tile, patches = images.max_image_size["longest_edge"], processor.image_seq_len
    longest = options.resolution or images.size["longest_edge"]
    if longest > TAGGED * tile:
        raise SettingsError(
            f"a resolution of {longest} is more than its {TAGGED} tiles of {tile} pixels",
            f"--resolution {TAGGED * tile} or less",
        )
    if options.max_patches:
        if options.max_patches < patches:
            raise SettingsError(
                f"{options.max_patches} patches are fewer than its smallest image has",
                f"--max-patches {patches} or more",
            )
        along = max(1, isqrt(options.max_patches // patches - 1))  # along * along tiles and the whole page
        longest = min(longest, along * tile)
    images.size = {"longest_edge": longest}


def _qwen(name: str, processor: str, dim: int = 128, dim_key: str = "") -> Family:
    return Family(name, processor, qwen_boxes, qwen_side, limit_qwen, dim, dim_key, thinnest=200)


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
