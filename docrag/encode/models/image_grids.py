"""Image processors whose grid follows the shape of the page: where its patches are, how large, how many."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import ceil, isqrt, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from docrag.encode.base import EncoderOptions
from docrag.encode.vectors.grid import grid_boxes, tile_boxes
from docrag.errors import SettingsError

ProcessorConfig = Mapping[str, Any]
"""The configuration of an image processor."""

PAGE = 1280
"""Pixels on the long side of a page for a model that takes any size: more than its 768 patches can show."""
MAX_ASPECT = 200
"""Qwen's image processor fails if an image is more than this many times as long as wide."""
MAX_TILES = 6
"""Tiles in a row or column for which the tokenizers of Idefics3 have tags."""
TILE_TAG = re.compile(r"<row_(\d+)_col_(\d+)>")
TILE_DEFAULTS = {"size": 4 * 364, "max_image_size": 364}
"""Pixels of the whole page and of a tile, if a configuration leaves them to the defaults of Idefics3."""
TILE_PATCHES = 169


def image_config(read_json: Callable[[str], ProcessorConfig | None]) -> ProcessorConfig:
    """The configuration of an image processor, with what the whole processor's configuration adds.

    Args:
        read_json: Returns the content of a file of the checkpoint; None or nothing if there is no such file.
    """
    processor = read_json("processor_config.json") or {}
    image_processor = read_json("preprocessor_config.json") or {}
    return {**image_processor, **processor, **(processor.get("image_processor") or {})}


def aspect_limit(max_aspect: int, options: EncoderOptions) -> int:
    """The largest aspect ratio of an image: one that is n times as long as wide gives at least n patches."""
    return min(max_aspect, options.max_patches or max_aspect)


def qwen_grid(processor: Any, grid: Any) -> NDArray[np.float32]:
    """Boxes of the grid that Qwen's image processor made of an image, whose patches are merged two by two.

    Args:
        processor: The model's processor.
        grid: Frames, rows and columns before merging.

    Returns:
        (patches, 4) in the order of the vectors.
    """
    merge = processor.image_processor.merge_size
    _, rows, columns = (int(side) for side in grid)
    return grid_boxes(columns // merge, rows // merge)


def tile_grid(processor: Any, tokens: Any) -> NDArray[np.float32]:
    """Boxes of the patches of an image cut into tiles, tile by tile as the tags in the prompt say.

    The tiles are followed by the whole page once more, whose patches get no place on it. An image that fits
    into one tile is given only once, and its patches have their places.

    Args:
        processor: The model's processor, an Idefics3.
        tokens: Ids of the prompt.

    Returns:
        (patches, 4) in the order of the vectors, NaN for those of the whole page.
    """
    side = isqrt(processor.image_seq_len)
    prompt = "".join(processor.tokenizer.convert_ids_to_tokens(tokens.tolist()))
    tiles = [(int(row), int(column)) for row, column in TILE_TAG.findall(prompt)]
    if not tiles:
        return grid_boxes(side, side)
    rows = max(row for row, _ in tiles)
    columns = max(column for _, column in tiles)
    whole_page = np.full((side * side, 4), np.nan, np.float32)
    return np.concatenate([tile_boxes(columns, rows, side), whole_page])


def qwen_side(config: ProcessorConfig, options: EncoderOptions) -> int:
    """Enough pixels to fill the patches asked for on an A4 page, whose long side is 1.19 times a square's."""
    patch = config.get("patch_size") or 16
    tile = patch * (config.get("merge_size") or 2)
    return options.resolution or max(PAGE, round(1.2 * tile * sqrt(options.max_patches)))


def limit_qwen(processor: Any, options: EncoderOptions) -> None:
    """Set the largest area of an image; its long side is that of the page image.

    A resolution alone raises the checkpoint's limit to what a square page of that size needs: with the limit
    that most checkpoints have, a larger page would be scaled down again, and would only take longer.
    """
    images = processor.image_processor
    tile = images.patch_size * images.merge_size
    max_area = images.size["longest_edge"]  # an area, despite its name
    if options.max_patches:
        max_area = options.max_patches * tile**2
    elif options.resolution:
        max_area = max(max_area, (ceil(options.resolution / tile) * tile) ** 2)
    images.size = {
        "shortest_edge": min(images.size["shortest_edge"], max_area),
        "longest_edge": max_area,
    }


def tiles_side(config: ProcessorConfig, options: EncoderOptions) -> int:
    """Pixels to which the image processor scales the long side of every page.

    Raises:
        SettingsError: As for limit_tiles.
    """
    sides = {
        name: int((config.get(name) or {}).get("longest_edge", default))
        for name, default in TILE_DEFAULTS.items()
    }
    patches = int(config.get("image_seq_len") or TILE_PATCHES)
    return _limited_side(sides["size"], sides["max_image_size"], patches, options)


def limit_tiles(processor: Any, options: EncoderOptions) -> None:
    """Set the long side of an image, which determines the number of tiles of a square page, the worst case.

    Raises:
        SettingsError: Fewer patches than a tile has, or more tiles than there are tags.
    """
    images = processor.image_processor
    own_side = images.size["longest_edge"]
    tile = images.max_image_size["longest_edge"]
    images.size = {"longest_edge": _limited_side(own_side, tile, processor.image_seq_len, options)}


def _limited_side(own_side: int, tile: int, patches: int, options: EncoderOptions) -> int:
    """Pixels on the long side, given the checkpoint's own, and the pixels and patches of a tile."""
    longest = options.resolution or own_side
    if longest > MAX_TILES * tile:
        raise SettingsError(
            f"a resolution of {longest} is more than its {MAX_TILES} tiles of {tile} pixels",
            f"--resolution {MAX_TILES * tile} or less",
        )
    if not options.max_patches:
        return longest
    if options.max_patches < patches:
        raise SettingsError(
            f"{options.max_patches} patches are fewer than its smallest image has",
            f"--max-patches {patches} or more",
        )
    # A square page gives tiles_along * tiles_along tiles, and the whole page once more.
    tiles_along = max(1, isqrt(options.max_patches // patches - 1))
    return min(longest, tiles_along * tile)
