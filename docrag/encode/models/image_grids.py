"""Image processors whose grid bends to the page: where its patches stand, how large, how many."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import ceil, isqrt, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from docrag.encode.options import EncoderOptions
from docrag.encode.vectors.grid import grid_boxes, tile_boxes
from docrag.errors import SettingsError

Settings = Mapping[str, Any]
"""The configuration of an image processor."""

PAGE = 1280
"""Pixels on the long side of a page for a model that takes any size: more than its 768 patches can show."""
THINNEST = 200
"""How many times longer than wide an image may be for Qwen's image processor."""
TAGGED = 6
"""Tiles in a row or column that the tokenizers of Idefics3 have tags for."""
TILE_TAG = re.compile(r"<row_(\d+)_col_(\d+)>")
TILES = {"size": 4 * 364, "max_image_size": 364}
"""Pixels of the whole page and of a tile, where a configuration leaves them to the classes of Idefics3."""
TILE_PATCHES = 169


def image_settings(read: Callable[[str], Settings | None]) -> Settings:
    """The configuration of an image processor, with what the whole processor says of its images.

    Args:
        read: Gives the content of a file of the checkpoint; None, or nothing in it, where it is not there.
    """
    whole = read("processor_config.json") or {}
    return {**(read("preprocessor_config.json") or {}), **whole, **(whole.get("image_processor") or {})}


def thinnest(most: int, options: EncoderOptions) -> int:
    """How many times longer than wide an image may be; an image of n times gives n patches at least."""
    return min(most, options.max_patches or most)


def qwen_grid(processor: Any, grid: Any) -> NDArray[np.float32]:
    """Boxes of the grid that Qwen's image processor made of an image, patches merged two by two.

    Args:
        processor: Of the model.
        grid: Frames, rows and columns before they are merged.

    Returns:
        (patches, 4) in the order of the vectors.
    """
    merge = processor.image_processor.merge_size
    _, rows, columns = (int(side) for side in grid)
    return grid_boxes(columns // merge, rows // merge)


def tile_grid(processor: Any, tokens: Any) -> NDArray[np.float32]:
    """Boxes tile after tile, as their tags say; then the whole page once more, which stands nowhere.

    An image that fits into one tile is given once, and its patches stand where they are.

    Args:
        processor: Of the model, an Idefics3.
        tokens: Ids of the prompt.

    Returns:
        (patches, 4) in the order of the vectors, NaN for those of the whole page.
    """
    side = isqrt(processor.image_seq_len)
    prompt = "".join(processor.tokenizer.convert_ids_to_tokens(tokens.tolist()))
    tiles = [(int(row), int(column)) for row, column in TILE_TAG.findall(prompt)]
    if not tiles:
        return grid_boxes(side, side)
    rows, columns = (max(numbers) for numbers in zip(*tiles, strict=True))
    whole = np.full((side * side, 4), np.nan, np.float32)
    return np.concatenate([tile_boxes(columns, rows, side), whole])


def qwen_side(settings: Settings, options: EncoderOptions) -> int:
    """Enough to fill the patches asked for on an A4 page, whose long side is 1.19 times that of a square."""
    patch = settings.get("patch_size") or 16
    tile = patch * (settings.get("merge_size") or 2)
    return options.resolution or max(PAGE, round(1.2 * tile * sqrt(options.max_patches)))


def limit_qwen(processor: Any, options: EncoderOptions) -> None:
    """Patches bound the area of the image; its long side is the page image's own.

    A resolution alone raises the checkpoint's bound to what a square page of it needs: under the bound that
    most have, a larger page would be made small again, and only take longer.
    """
    images = processor.image_processor
    tile, most = images.patch_size * images.merge_size, images.size["longest_edge"]
    if options.max_patches:
        most = options.max_patches * tile**2
    elif options.resolution:
        most = max(most, (ceil(options.resolution / tile) * tile) ** 2)
    images.size = {"shortest_edge": min(images.size["shortest_edge"], most), "longest_edge": most}


def tiles_side(settings: Settings, options: EncoderOptions) -> int:
    """What the image processor scales the long side of every page to.

    Raises:
        SettingsError: As for limit_tiles.
    """
    own, tile = (int((settings.get(key) or {}).get("longest_edge", usual)) for key, usual in TILES.items())
    return _within(own, tile, int(settings.get("image_seq_len") or TILE_PATCHES), options)


def limit_tiles(processor: Any, options: EncoderOptions) -> None:
    """The long side is what counts: it says how many tiles a square page, the worst, is cut into.

    Raises:
        SettingsError: Fewer patches than a tile has, or more tiles than there are tags.
    """
    images = processor.image_processor
    own, tile = images.size["longest_edge"], images.max_image_size["longest_edge"]
    images.size = {"longest_edge": _within(own, tile, processor.image_seq_len, options)}


def _within(own: int, tile: int, patches: int, options: EncoderOptions) -> int:
    """Pixels on the long side, of the checkpoint's own and those of a tile, which has so many patches."""
    longest = options.resolution or own
    if longest > TAGGED * tile:
        raise SettingsError(
            f"a resolution of {longest} is more than its {TAGGED} tiles of {tile} pixels",
            f"--resolution {TAGGED * tile} or less",
        )
    if not options.max_patches:
        return longest
    if options.max_patches < patches:
        raise SettingsError(
            f"{options.max_patches} patches are fewer than its smallest image has",
            f"--max-patches {patches} or more",
        )
    along = max(1, isqrt(options.max_patches // patches - 1))  # along * along tiles and the whole page
    return min(longest, along * tile)
