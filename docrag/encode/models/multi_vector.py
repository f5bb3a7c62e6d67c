"""Late interaction through sentence-transformers: classes of transformers, or a modules.json."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from docrag.encode.base import (
    VISION_OPTIONS,
    CheckpointCard,
    EncoderOptions,
    Family,
    ModelSpec,
    refuse_vision_options,
)
from docrag.encode.checkpoints.checkpoint import Checkpoint
from docrag.encode.checkpoints.sentence_modules import (
    LIBRARY,
    WHY,
    config_of,
    dimension,
    load_modules,
    modules_of,
)
from docrag.encode.models import colpali
from docrag.encode.models.image_grids import (
    MAX_ASPECT,
    PAGE,
    ProcessorConfig,
    aspect_limit,
    image_config,
    limit_qwen,
    limit_tiles,
    qwen_grid,
    qwen_side,
    tile_grid,
    tiles_side,
)
from docrag.encode.models.late import LateEncoder
from docrag.encode.page_images import widen
from docrag.encode.texts import QueryWords, special_tokens, without_special_tokens
from docrag.encode.vectors.grid import grid_boxes, place_boxes
from docrag.encode.vectors.norms import normalised
from docrag.errors import ModelUnavailable
from docrag.types import MultiVector

if TYPE_CHECKING:
    from PIL.Image import Image

Features = Mapping[str, Any]
"""What sentence-transformers knows about one input after its last module, by name."""

FLASH_ATTENTION = {"ColQwen2ForRetrieval"} | {
    architecture.model_class for architecture in colpali.ARCHITECTURES if architecture.flash_attention
}
"""Classes for which flash attention gives the same vectors as sdpa; with a modules.json, a checkpoint of
colpali-engine's classes can be read here too."""


@dataclass(frozen=True, slots=True)
class Grid:
    """How an image processor cuts pages into patches."""

    boxes: Callable[[Any, Features, int], NDArray[np.float32]]
    """(processor, features, number of image tokens) -> boxes of the image tokens, NaN for those without a
    place on the page."""
    side: Callable[[ProcessorConfig, EncoderOptions], int]
    """(its configuration, options) -> pixels on the long side of the page image that it needs."""
    limit: Callable[[Any, EncoderOptions], None] | None = None
    """Sets the processor to the resolution and patches asked for; None if the grid is fixed."""
    max_aspect: int = 0
    """How many times as long as wide an image may be; 0 for any shape."""


def _square_boxes(processor: Any, features: Features, count: int) -> NDArray[np.float32]:
    side = math.isqrt(count)
    return grid_boxes(side, side)


def _qwen_boxes(processor: Any, features: Features, count: int) -> NDArray[np.float32]:
    return qwen_grid(processor, features["image_grid_thw"])


def _tile_boxes(processor: Any, features: Features, count: int) -> NDArray[np.float32]:
    return tile_grid(processor, features["input_ids"])


def _page_side(config: ProcessorConfig, options: EncoderOptions) -> int:
    return PAGE


GRIDS: Mapping[str, Grid] = {
    "merge_size": Grid(_qwen_boxes, qwen_side, limit_qwen, MAX_ASPECT),
    "do_image_splitting": Grid(_tile_boxes, tiles_side, limit_tiles),
    "image_seq_length": Grid(_square_boxes, _page_side),
}
"""By a key that only this kind of image processor has in its configuration."""


def open_multi_vector(checkpoint: Checkpoint, options: EncoderOptions) -> LateEncoder:
    """An encoder of a checkpoint that MultiVectorEncoder reads; weights are loaded when they are needed.

    Raises:
        ModelUnavailable: It takes no images, or does not state where its patches are.
        SettingsError: It does not support the resolution or number of patches.
    """
    config = image_config(partial(config_of, checkpoint, modules_of(checkpoint)[0]))
    grid = _grid_of(checkpoint, config)
    refuse_vision_options(
        options,
        f"{checkpoint.model} sees every page as the same square grid",
        supported=VISION_OPTIONS if grid.limit else (),
    )
    spec = ModelSpec(
        family=checkpoint.architecture or "MultiVectorEncoder",
        model=checkpoint.model,
        revision=checkpoint.revision,
        digest=checkpoint.digest,
        library=LIBRARY,
        dim=dimension(checkpoint),
        kind="late",
        needs="image",
        licence="",
        recipe="all tokens",
        image_side=grid.side(config, options),
        resolution=options.resolution,
        max_patches=options.max_patches,
    )
    return LateEncoder(spec, lambda: MultiVectorModel(checkpoint, grid, options), options)


FAMILY = Family(
    library=LIBRARY,
    why=WHY,
    opens=open_multi_vector,
    reads="transformers' own class or modules.json; needs no torchvision",
    architectures=("ColPaliForRetrieval", "ColQwen2ForRetrieval", "ColModernVBertForRetrieval"),
    saved_by=("MultiVectorEncoder", "ColBERT"),
    checkpoints={
        "colpali-hf": CheckpointCard("late", "vidore/colpali-v1.3-hf", "Gemma", 128, 1030),
        "colqwen2-hf": CheckpointCard("late", "vidore/colqwen2-v1.0-hf", "Apache-2.0", 128, 755),
    },
)


def _grid_of(checkpoint: Checkpoint, config: ProcessorConfig) -> Grid:
    """How its pages are cut, by the configuration of its image processor.

    Raises:
        ModelUnavailable: It takes no images, or gives vectors whose places on the page are unknown.
    """
    _refuse_unusable(checkpoint)
    if "image_processor_type" not in config and "image_mean" not in config:
        raise ModelUnavailable(
            f"{checkpoint.model} has no image processor: it embeds texts, not page images",
            "give a checkpoint that sees images; for words there is --late minilm",
        )
    for key, grid in GRIDS.items():
        if key in config:
            return grid
    raise ModelUnavailable(
        f"{checkpoint.model}: {config.get('image_processor_type')} does not state where patches are",
        f"its configuration must have one of {', '.join(GRIDS)}",
    )


def _refuse_unusable(checkpoint: Checkpoint) -> None:
    """Refuse checkpoints that sentence-transformers opens, only to fail or return random vectors later.

    Raises:
        ModelUnavailable: It is one of them.
    """
    has_no_modules = checkpoint.json("modules.json") is None
    if has_no_modules and checkpoint.architecture == "ColModernVBertForRetrieval":
        raise ModelUnavailable(
            f"{checkpoint.model}: sentence-transformers cannot encode images with ColModernVBertForRetrieval",
            "use a checkpoint of it with modules.json, or one of colpali-engine (ColModernVBert)",
        )
    if has_no_modules and checkpoint.base:  # it would not see what the base is, and add a random projection
        raise ModelUnavailable(
            f"{checkpoint.model} is an adapter without modules.json",
            "merge it into its base: PeftModel.merge_and_unload(), then save_pretrained(DIR)",
        )
    if any(module.kind.endswith("TokenPooling") for module in modules_of(checkpoint)):
        raise ModelUnavailable(
            f"{checkpoint.model} pools its vectors, so that they have no place on the page",
            "remove the token pooling from its modules.json; docrag does its own pooling",
        )


class MultiVectorModel:
    """A MultiVectorEncoder that also tells the place of each of its vectors on the page."""

    def __init__(self, checkpoint: Checkpoint, grid: Grid, options: EncoderOptions) -> None:
        from docrag.encode.runtime.windows import attend_by_length

        flash_attention = checkpoint.architecture in FLASH_ATTENTION
        self._model: Any = load_modules(
            "MultiVectorEncoder", checkpoint, options, flash_attention=flash_attention
        )
        attend_by_length(self._model)
        self._processor = self._model.processor
        self._grid = grid
        self._max_aspect = aspect_limit(grid.max_aspect, options)
        self._special = special_tokens(self._processor)
        if grid.limit:
            grid.limit(self._processor, options)
        self._image_token = self._processor.tokenizer.convert_tokens_to_ids(self._processor.image_token)
        self.device = str(self._model.device)
        self._words = QueryWords(self._processor.tokenizer, self._query_ids)

    def encode_images(self, images: Sequence[Image]) -> list[MultiVector]:
        """(n, dim) per page: the patches and prompt tokens that the model's own mask keeps."""
        widened = [widen(image, self._max_aspect) for image in images]
        return [
            self._with_boxes(features) for features in self._forward(self._model.encode_document, widened)
        ]

    def encode_texts(self, texts: Sequence[str]) -> list[MultiVector]:
        """(n, dim) per query; as {"text": ...}, the name of an image file is not opened as one."""
        plain_texts = [without_special_tokens(text, self._special) for text in texts]
        outputs = self._forward(self._model.encode_query, [{"text": text} for text in plain_texts])
        return [
            MultiVector(_kept_rows(features), words=self._words_of(text, features))
            for text, features in zip(plain_texts, outputs, strict=True)
        ]

    def _words_of(self, text: str, features: Features) -> tuple[str, ...] | None:
        """The words of the tokens that the model's mask keeps."""
        first = self._padding(features)
        words = self._words.of(text, features["input_ids"].tolist()[first:])
        if words is None:
            return None
        is_kept = _kept_tokens(features)[first:]
        return tuple(word for word, keep in zip(words, is_kept, strict=True) if keep)

    def _query_ids(self, texts: Sequence[str]) -> list[list[int]]:
        outputs = self._forward(self._model.encode_query, [{"text": text} for text in texts])
        return [features["input_ids"].tolist()[self._padding(features) :] for features in outputs]

    def _padding(self, features: Features) -> int:
        """The number of padding tokens at the beginning; the mask also leaves out some tokens of the text."""
        is_text = (features["input_ids"] != self._processor.tokenizer.pad_token_id).cpu().numpy()
        return int((is_text | _kept_tokens(features)).argmax())

    def _with_boxes(self, features: Features) -> MultiVector:
        is_patch = (features["input_ids"] == self._image_token).cpu().numpy()
        boxes = place_boxes(self._grid.boxes(self._processor, features, int(is_patch.sum())), is_patch)
        return MultiVector(_kept_rows(features), boxes[_kept_tokens(features)])

    def _forward(self, encode: Callable[..., Any], inputs: Sequence[Any]) -> list[Features]:
        """One forward pass; with output_value=None, the tokens are returned together with their vectors."""
        outputs: list[Features] = encode(
            list(inputs), batch_size=max(1, len(inputs)), output_value=None, show_progress_bar=False
        )
        return outputs


def _kept_tokens(features: Features) -> NDArray[np.bool_]:
    return np.asarray(features["attention_mask"].bool().cpu().numpy())


def _kept_rows(features: Features) -> NDArray[np.float32]:
    """(n, dim) without padding, which may be NaN."""
    return normalised(features["token_embeddings"].float().cpu().numpy()[_kept_tokens(features)])
