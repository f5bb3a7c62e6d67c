"""Late interaction through sentence-transformers: classes of transformers, and what has a modules.json."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from docrag.encode.base import ModelSpec
from docrag.encode.checkpoint import Checkpoint
from docrag.encode.grid import grid_boxes, place, tile_boxes
from docrag.encode.late import LateEncoder
from docrag.encode.norms import normalised
from docrag.encode.options import EncoderOptions
from docrag.encode.sentence_modules import config_of, dimension, load_modules, modules_of
from docrag.errors import ModelUnavailable, SettingsError
from docrag.types import MultiVector

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SIDE = 1280
TILE = re.compile(r"<row_(\d+)_col_(\d+)>")
"""What Idefics3 writes before each tile of a page."""

Features = Mapping[str, Any]
"""What sentence-transformers knows of one input after its last module, by name."""


@dataclass(frozen=True, slots=True)
class Grid:
    """How an image processor cuts pages into patches."""

    boxes: Callable[[Features, NDArray[np.bool_], Any], NDArray[np.float32]]
    """(features, which tokens are of the image, processor) -> (tokens, 4), NaN where no patch stands."""
    resize: Callable[[Any, EncoderOptions], None]
    """Sets the image processor to what the user asked for."""
    knobs: frozenset[str]
    """The options of that kind that it has."""
    image_side: Callable[[dict[str, Any]], int] = lambda told: IMAGE_SIDE
    """Pixels on the long side of the page image that it wants, by its configuration."""


def _qwen_boxes(features: Features, at: NDArray[np.bool_], processor: Any) -> NDArray[np.float32]:
    _, rows, columns = (int(side) for side in features["image_grid_thw"])
    merge = processor.image_processor.merge_size
    return place(grid_boxes(columns // merge, rows // merge), at)


def _square_boxes(features: Features, at: NDArray[np.bool_], processor: Any) -> NDArray[np.float32]:
    side = math.isqrt(int(at.sum()))
    return place(grid_boxes(side, side), at)


def _tile_boxes(features: Features, at: NDArray[np.bool_], processor: Any) -> NDArray[np.float32]:
    """The tiles as the prompt counts them; after them comes the whole page in small, which stands nowhere."""
    tiles = TILE.findall(processor.tokenizer.decode(features["input_ids"]))
    rows = max((int(row) for row, _ in tiles), default=1)
    columns = max((int(column) for _, column in tiles), default=1)
    side = math.isqrt(int(at.sum()) // (len(tiles) + 1))
    local = at.copy()
    if tiles:  # without, the whole page is the only tile
        local[np.flatnonzero(at)[-side * side :]] = False
    return place(tile_boxes(columns, rows, side), local)


def _limit_pixels(images: Any, options: EncoderOptions) -> None:
    """Qwen's processor counts area: a patch vector stands for merge_size times merge_size patches."""
    if options.max_patches:
        most = options.max_patches * (images.patch_size * images.merge_size) ** 2
        images.size = {"shortest_edge": min(images.size["shortest_edge"], most), "longest_edge": most}


def _limit_tiles(images: Any, options: EncoderOptions) -> None:
    if options.resolution:
        images.size = {"longest_edge": options.resolution}


GRIDS: Mapping[str, Grid] = {
    "merge_size": Grid(_qwen_boxes, _limit_pixels, frozenset({"max_patches", "resolution"})),
    "do_image_splitting": Grid(
        _tile_boxes, _limit_tiles, frozenset({"resolution"}), lambda told: int(told["size"]["longest_edge"])
    ),
    "image_seq_length": Grid(_square_boxes, lambda images, options: None, frozenset()),
}
"""By what only this kind of image processor has in its configuration."""


def open_multi_vector(checkpoint: Checkpoint, options: EncoderOptions) -> LateEncoder:
    """An encoder of a checkpoint that MultiVectorEncoder reads; weights are loaded when needed.

    Raises:
        ModelUnavailable: It takes no images, or does not say where its patches stand.
        SettingsError: It has no such choice of resolution or patches.
    """
    told = _image_processor(checkpoint)
    grid = _grid(checkpoint, told)
    for knob in ("resolution", "max_patches"):
        if getattr(options, knob) and knob not in grid.knobs:
            raise SettingsError(
                f"{checkpoint.model} has no choice of {knob}: its image processor fixes it",
                f"leave --{knob.replace('_', '-')} out",
            )
    spec = ModelSpec(
        family=checkpoint.architecture or "MultiVectorEncoder",
        model=checkpoint.model,
        revision=checkpoint.revision,
        digest=checkpoint.digest,
        library="sentence-transformers",
        dim=dimension(checkpoint),
        kind="late",
        needs="image",
        licence="",
        recipe="all tokens",
        image_side=options.resolution or grid.image_side(told),
        resolution=options.resolution,
        max_patches=options.max_patches,
    )
    return LateEncoder(spec, lambda: MultiVectorModel(checkpoint, grid, options), options)


def _image_processor(checkpoint: Checkpoint) -> dict[str, Any]:
    """Its configuration, empty where it has none; what the whole processor has of it comes along."""
    first = modules_of(checkpoint)[0]
    whole = config_of(checkpoint, first, "processor_config.json")
    images: dict[str, Any] = whole.get("image_processor", {})
    return config_of(checkpoint, first, "preprocessor_config.json") | whole | images


def _grid(checkpoint: Checkpoint, told: dict[str, Any]) -> Grid:
    """How its pages are cut, by the configuration of its image processor.

    Raises:
        ModelUnavailable: It takes no images, or gives vectors of which nobody knows where they stand.
    """
    _refuse_what_cannot_work(checkpoint)
    if "image_processor_type" not in told and "image_mean" not in told:
        raise ModelUnavailable(
            f"{checkpoint.model} has no image processor: it embeds texts, not page images",
            "give a checkpoint that sees images; for words there is --late minilm",
        )
    for mark, grid in GRIDS.items():
        if mark in told:
            return grid
    raise ModelUnavailable(
        f"{checkpoint.model}: {told.get('image_processor_type')} does not say where patches stand",
        f"its configuration must have one of {', '.join(GRIDS)}",
    )


def _refuse_what_cannot_work(checkpoint: Checkpoint) -> None:
    """Layouts that sentence-transformers opens all the same, to fail or to answer at random later."""
    alone = checkpoint.json("modules.json") is None
    if alone and checkpoint.architecture == "ColModernVBertForRetrieval":
        raise ModelUnavailable(
            f"{checkpoint.model}: sentence-transformers cannot encode images with ColModernVBertForRetrieval",
            "take a checkpoint of it with modules.json, or one of colpali-engine (ColModernVBert)",
        )
    if alone and checkpoint.base:  # it would not see what the base is, and add a random projection
        raise ModelUnavailable(
            f"{checkpoint.model} is an adapter without modules.json",
            "merge it into its base: PeftModel.merge_and_unload(), then save_pretrained(DIR)",
        )
    if any(module.kind.endswith("TokenPooling") for module in modules_of(checkpoint)):
        raise ModelUnavailable(
            f"{checkpoint.model} pools its vectors, so that they stand nowhere on the page",
            "take the token pooling out of its modules.json; docrag pools by itself",
        )


class MultiVectorModel:
    """A MultiVectorEncoder, with the place of each of its vectors."""

    def __init__(self, checkpoint: Checkpoint, grid: Grid, options: EncoderOptions) -> None:
        self._model: Any = load_modules("MultiVectorEncoder", checkpoint, options)
        self._processor = self._model.processor
        self._grid = grid
        grid.resize(self._processor.image_processor, options)
        self._image_token = self._processor.tokenizer.convert_tokens_to_ids(self._processor.image_token)
        self.device = str(self._model.device)

    def encode_images(self, images: Sequence[Image]) -> list[MultiVector]:
        """(n, dim) a page: what the model's own mask keeps of patches and prompt."""
        return [self._placed(one) for one in self._forward(self._model.encode_document, list(images))]

    def encode_texts(self, texts: Sequence[str]) -> list[MultiVector]:
        """(n, dim) a query; {"text": ...} keeps the name of an image file from being opened."""
        told = self._forward(self._model.encode_query, [{"text": text} for text in texts])
        return [MultiVector(_rows(one)) for one in told]

    def _placed(self, features: Features) -> MultiVector:
        at = (features["input_ids"] == self._image_token).cpu().numpy()
        boxes = self._grid.boxes(features, at, self._processor)
        return MultiVector(_rows(features), boxes[_kept(features)])

    def _forward(self, encode: Callable[..., Any], inputs: Sequence[Any]) -> list[Features]:
        """One pass; with output_value=None the tokens come with the vectors that they got."""
        found: list[Features] = encode(
            list(inputs), batch_size=max(1, len(inputs)), output_value=None, show_progress_bar=False
        )
        return found


def _kept(features: Features) -> NDArray[np.bool_]:
    return np.asarray(features["attention_mask"].bool().cpu().numpy())


def _rows(features: Features) -> NDArray[np.float32]:
    """(n, dim) without padding, which may be NaN."""
    return normalised(features["token_embeddings"].float().cpu().numpy()[_kept(features)])
