"""Late interaction through sentence-transformers: classes of transformers, and what has a modules.json."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from docrag.encode.base import ModelSpec
from docrag.encode.checkpoints.checkpoint import Checkpoint
from docrag.encode.checkpoints.sentence_modules import config_of, dimension, load_modules, modules_of
from docrag.encode.models.image_grids import (
    PAGE,
    THINNEST,
    Settings,
    image_settings,
    limit_qwen,
    limit_tiles,
    qwen_grid,
    qwen_side,
    thinnest,
    tile_grid,
    tiles_side,
)
from docrag.encode.models.late import LateEncoder
from docrag.encode.options import KNOBS, EncoderOptions, refuse_knobs
from docrag.encode.page_images import widen
from docrag.encode.texts import plain, special_tokens
from docrag.encode.vectors.grid import grid_boxes, place
from docrag.encode.vectors.norms import normalised
from docrag.encode.words import QueryWords
from docrag.errors import ModelUnavailable
from docrag.types import MultiVector

if TYPE_CHECKING:
    from PIL.Image import Image

Features = Mapping[str, Any]
"""What sentence-transformers knows of one input after its last module, by name."""


@dataclass(frozen=True, slots=True)
class Grid:
    """How an image processor cuts pages into patches."""

    boxes: Callable[[Any, Features, int], NDArray[np.float32]]
    """(processor, features, image tokens) -> boxes of the image tokens, NaN for those that stand nowhere."""
    side: Callable[[Settings, EncoderOptions], int]
    """(its configuration, options) -> pixels on the long side of the page image that it wants."""
    limit: Callable[[Any, EncoderOptions], None] | None = None
    """Sets the processor to the resolution and patches asked for; None where the grid is fixed."""
    thinnest: int = 0
    """How many times longer than wide an image may be; 0 for any."""


def _square_boxes(processor: Any, features: Features, count: int) -> NDArray[np.float32]:
    side = math.isqrt(count)
    return grid_boxes(side, side)


GRIDS: Mapping[str, Grid] = {
    "merge_size": Grid(
        lambda processor, features, count: qwen_grid(processor, features["image_grid_thw"]),
        qwen_side,
        limit_qwen,
        THINNEST,
    ),
    "do_image_splitting": Grid(
        lambda processor, features, count: tile_grid(processor, features["input_ids"]),
        tiles_side,
        limit_tiles,
    ),
    "image_seq_length": Grid(_square_boxes, lambda settings, options: PAGE),
}
"""By what only this kind of image processor has in its configuration."""


def open_multi_vector(checkpoint: Checkpoint, options: EncoderOptions) -> LateEncoder:
    """An encoder of a checkpoint that MultiVectorEncoder reads; weights are loaded when needed.

    Raises:
        ModelUnavailable: It takes no images, or does not say where its patches stand.
        SettingsError: It has no such choice of resolution or patches.
    """
    settings = image_settings(partial(config_of, checkpoint, modules_of(checkpoint)[0]))
    grid = _grid(checkpoint, settings)
    fixed = f"{checkpoint.model} sees every page as the same square grid"
    refuse_knobs(options, fixed, takes=KNOBS if grid.limit else ())
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
        image_side=grid.side(settings, options),
        resolution=options.resolution,
        max_patches=options.max_patches,
    )
    return LateEncoder(spec, lambda: MultiVectorModel(checkpoint, grid, options), options)


def _grid(checkpoint: Checkpoint, settings: Settings) -> Grid:
    """How its pages are cut, by the configuration of its image processor.

    Raises:
        ModelUnavailable: It takes no images, or gives vectors of which nobody knows where they stand.
    """
    _refuse_what_cannot_work(checkpoint)
    if "image_processor_type" not in settings and "image_mean" not in settings:
        raise ModelUnavailable(
            f"{checkpoint.model} has no image processor: it embeds texts, not page images",
            "give a checkpoint that sees images; for words there is --late minilm",
        )
    for mark, grid in GRIDS.items():
        if mark in settings:
            return grid
    raise ModelUnavailable(
        f"{checkpoint.model}: {settings.get('image_processor_type')} does not say where patches stand",
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
        from docrag.encode.runtime.windows import attend_by_length

        self._model: Any = load_modules("MultiVectorEncoder", checkpoint, options)
        attend_by_length(self._model)
        self._processor = self._model.processor
        self._grid = grid
        self._thinnest = thinnest(grid.thinnest, options)
        self._special = special_tokens(self._processor)
        if grid.limit:
            grid.limit(self._processor, options)
        self._image_token = self._processor.tokenizer.convert_tokens_to_ids(self._processor.image_token)
        self.device = str(self._model.device)
        self._words = QueryWords(self._processor.tokenizer, self._query_ids)

    def encode_images(self, images: Sequence[Image]) -> list[MultiVector]:
        """(n, dim) a page: what the model's own mask keeps of patches and prompt."""
        widened = [widen(image, self._thinnest) for image in images]
        return [self._placed(one) for one in self._forward(self._model.encode_document, widened)]

    def encode_texts(self, texts: Sequence[str]) -> list[MultiVector]:
        """(n, dim) a query; {"text": ...} keeps the name of an image file from being opened."""
        said = [plain(text, self._special) for text in texts]
        told = self._forward(self._model.encode_query, [{"text": text} for text in said])
        return [
            MultiVector(_rows(one), words=self._words_of(text, one))
            for text, one in zip(said, told, strict=True)
        ]

    def _words_of(self, text: str, features: Features) -> tuple[str, ...] | None:
        """The words of the tokens that the model's mask keeps."""
        ids, first = features["input_ids"].tolist(), self._padding(features)
        words = self._words.of(text, ids[first:])
        if words is None:
            return None
        kept = _kept(features)[first:]
        return tuple(word for word, keep in zip(words, kept, strict=True) if keep)

    def _query_ids(self, texts: Sequence[str]) -> list[list[int]]:
        told = self._forward(self._model.encode_query, [{"text": text} for text in texts])
        return [one["input_ids"].tolist()[self._padding(one) :] for one in told]

    def _padding(self, features: Features) -> int:
        """Tokens of padding before the first real one; the mask leaves out some of the real ones, too."""
        real = (features["input_ids"] != self._processor.tokenizer.pad_token_id).cpu().numpy()
        return int((real | _kept(features)).argmax())

    def _placed(self, features: Features) -> MultiVector:
        at = (features["input_ids"] == self._image_token).cpu().numpy()
        boxes = place(self._grid.boxes(self._processor, features, int(at.sum())), at)
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
