"""Late interaction through colpali-engine, the library of ColPali's authors.

ARCHITECTURES has one entry for each class of the library. To add one, add its entry, and a function that
saves a tiny checkpoint of it to tests/checkpoints/.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isqrt
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
from docrag.encode.checkpoints.torchvision import mend_torchvision
from docrag.encode.models.image_grids import (
    MAX_ASPECT,
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
from docrag.encode.runtime.extras import INSTALL
from docrag.encode.runtime.once import guard
from docrag.encode.texts import QueryWords, special_tokens, without_special_tokens
from docrag.encode.vectors.grid import grid_boxes, place_boxes
from docrag.encode.vectors.norms import normalised
from docrag.errors import ModelUnavailable, WeightsMismatch
from docrag.types import MultiVector

if TYPE_CHECKING:
    from PIL.Image import Image

LIBRARY = "colpali-engine"

Inputs = Any
"""A BatchFeature of transformers: tensors by name."""
BoxFinder = Callable[[Any, Any, Inputs, int], NDArray[np.float32]]
"""(processor, configuration of the model, inputs of a batch, position in it) -> (n, 4) boxes of the image
tokens, in their order; NaN for a token without a place on the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColPaliArchitecture:
    """What is particular to one class of colpali-engine."""

    model_class: str
    """Class in colpali_engine.models, which config.json names."""
    name: str
    """The family in a fingerprint."""
    processor: str
    """Class of its processor in colpali_engine.models."""
    boxes: BoxFinder
    """Where the image tokens of a page are."""
    side: Callable[[ProcessorConfig, EncoderOptions], int]
    """(configuration of the image processor, options) -> pixels on the long side of the page image."""
    limit: Callable[[Any, EncoderOptions], None] | None = None
    """Sets the processor to the resolution and patches asked for; None if the grid is fixed."""
    dim: int = 128
    dim_key: str = ""
    """The key in config.json that may state another dimension."""
    max_aspect: int = 0
    """How many times as long as wide an image may be; 0 for any shape."""
    flash_attention: bool = False
    """Whether flash attention gives the same vectors as sdpa. It supports causal masks and padding; in Gemma
    (ColPali, ColGemma3) patches attend to later ones as well, which it would silently ignore."""
    language_head: bool = False
    """Whether the model has a language head, which is never used."""
    types_queries: bool = False
    """Whether queries need token types: without them PaliGemma takes a query for a page, and attends its
    padding."""
    checkpoints: Mapping[str, CheckpointCard] = field(default_factory=dict)
    """Its best-known checkpoints by short name."""

    @property
    def supported_options(self) -> frozenset[str]:
        """The names in VISION_OPTIONS that the architecture supports."""
        return frozenset(VISION_OPTIONS if self.limit else ())

    def check(self, model: str, options: EncoderOptions) -> None:
        """Refuse options that this architecture does not support.

        Raises:
            SettingsError: Its grid is fixed, and another one was asked for.
        """
        refuse_vision_options(
            options,
            f"{model} ({self.name}) sees every page as the same square grid",
            "use a model of another family, such as colqwen2 or colsmol-256m",
            self.supported_options,
        )

    def dimension(self, checkpoint: Checkpoint) -> int:
        """Length of its vectors, without loading the weights."""
        config = (checkpoint.base or checkpoint).json("config.json") or {}
        return int(config.get(self.dim_key) or self.dim)


def _square_boxes(processor: Any, config: Any, inputs: Inputs, i: int) -> NDArray[np.float32]:
    """ColPali stretches every page to one square, which is cut into patches."""
    size = processor.image_processor.size
    patch = config.vision_config.patch_size
    return grid_boxes(size["width"] // patch, size["height"] // patch)


def _pooled_boxes(processor: Any, config: Any, inputs: Inputs, i: int) -> NDArray[np.float32]:
    """Gemma 3 pools the patches of its square into fewer tokens."""
    side = isqrt(config.mm_tokens_per_image)
    return grid_boxes(side, side)


def _qwen_boxes(processor: Any, config: Any, inputs: Inputs, i: int) -> NDArray[np.float32]:
    """The grid that the image processor made of the image."""
    return qwen_grid(processor, inputs["image_grid_thw"][i])


def _idefics_boxes(processor: Any, config: Any, inputs: Inputs, i: int) -> NDArray[np.float32]:
    """The tiles that the prompt lists."""
    return tile_grid(processor, inputs["input_ids"][i])


def _square_side(config: ProcessorConfig, options: EncoderOptions) -> int:
    """Twice the square, so that the short side of a page is not enlarged when it is stretched to it."""
    size: Mapping[str, int] = config.get("size") or {}
    return 2 * max(size.values(), default=448)


ARCHITECTURES = (
    ColPaliArchitecture(
        model_class="ColPali",
        name="colpali",
        processor="ColPaliProcessor",
        boxes=_square_boxes,
        side=_square_side,
        language_head=True,
        types_queries=True,
        checkpoints={"colpali": CheckpointCard("late", "vidore/colpali-v1.3", "Gemma", 128, 1031)},
    ),
    ColPaliArchitecture(
        model_class="ColQwen2",
        name="colqwen2",
        processor="ColQwen2Processor",
        boxes=_qwen_boxes,
        side=qwen_side,
        limit=limit_qwen,
        max_aspect=MAX_ASPECT,
        flash_attention=True,
        checkpoints={"colqwen2": CheckpointCard("late", "vidore/colqwen2-v1.0", "Apache-2.0", 128, 755)},
    ),
    ColPaliArchitecture(
        model_class="ColQwen2_5",
        name="colqwen2.5",
        processor="ColQwen2_5_Processor",
        boxes=_qwen_boxes,
        side=qwen_side,
        limit=limit_qwen,
        max_aspect=MAX_ASPECT,
        flash_attention=True,
        checkpoints={
            "colqwen2.5": CheckpointCard("late", "vidore/colqwen2.5-v0.2", "Qwen Research", 128, 755)
        },
    ),
    ColPaliArchitecture(
        model_class="ColQwen3",
        name="colqwen3",
        processor="ColQwen3Processor",
        boxes=_qwen_boxes,
        side=qwen_side,
        limit=limit_qwen,
        dim=320,
        max_aspect=MAX_ASPECT,
        flash_attention=True,
        checkpoints={
            "colqwen3": CheckpointCard("late", "TomoroAI/tomoro-colqwen3-embed-4b", "Apache-2.0", 320, 0)
        },
    ),
    ColPaliArchitecture(
        model_class="ColQwen3_5",
        name="colqwen3.5",
        processor="ColQwen3_5Processor",
        boxes=_qwen_boxes,
        side=qwen_side,
        limit=limit_qwen,
        dim_key="dim",
        max_aspect=MAX_ASPECT,
        flash_attention=True,
        checkpoints={
            "colqwen3.5": CheckpointCard("late", "athrael-soju/colqwen3.5-4.5B-v3", "Apache-2.0", 320, 0)
        },
    ),
    ColPaliArchitecture(
        model_class="ColIdefics3",
        name="colidefics3",
        processor="ColIdefics3Processor",
        boxes=_idefics_boxes,
        side=tiles_side,
        limit=limit_tiles,
        flash_attention=True,
        checkpoints={
            "colsmol-256m": CheckpointCard("late", "vidore/colSmol-256M", "Apache-2.0", 128, 1143),
            "colsmol-500m": CheckpointCard("late", "vidore/colSmol-500M", "Apache-2.0", 128, 1143),
        },
    ),
    ColPaliArchitecture(
        model_class="ColModernVBert",
        name="colmodernvbert",
        processor="ColModernVBertProcessor",
        boxes=_idefics_boxes,
        side=tiles_side,
        limit=limit_tiles,
        checkpoints={
            "colmodernvbert": CheckpointCard("late", "ModernVBERT/colmodernvbert", "MIT", 128, 1143)
        },
    ),
    ColPaliArchitecture(
        model_class="ColGemma3",
        name="colgemma3",
        processor="ColGemmaProcessor3",
        boxes=_pooled_boxes,
        side=_square_side,
        checkpoints={"colgemma3": CheckpointCard("late", "Cognitive-Lab/ColNetraEmbed", "Gemma", 128, 0)},
    ),
)
"""The classes of colpali-engine that docrag reads: what is particular to each."""


def architecture_of(model_class: str) -> ColPaliArchitecture:
    """The architecture of a class of colpali-engine.

    Raises:
        WeightsMismatch: There is none.
    """
    for architecture in ARCHITECTURES:
        if architecture.model_class == model_class:
            return architecture
    known = ", ".join(architecture.model_class for architecture in ARCHITECTURES)
    raise WeightsMismatch(
        f"no architecture of colpali-engine is called {model_class or 'nothing'}", f"docrag reads {known}"
    )


def open_colpali(checkpoint: Checkpoint, options: EncoderOptions) -> LateEncoder:
    """An encoder of a checkpoint or LoRA adapter of colpali-engine; weights are loaded when they are needed.

    Raises:
        SettingsError: A resolution or a number of patches was asked of a model whose grid is fixed.
        WeightsMismatch: Its architecture is not one of colpali-engine.
        ModelUnavailable: colpali-engine is not installed (raised when the weights are loaded).
    """
    architecture = architecture_of(checkpoint.architecture)
    architecture.check(checkpoint.model, options)
    spec = ModelSpec(
        family=architecture.name,
        model=checkpoint.model,
        revision=checkpoint.revision,
        digest=checkpoint.digest,
        library=LIBRARY,
        dim=architecture.dimension(checkpoint),
        kind="late",
        needs="image",
        licence="",
        recipe="all tokens",
        image_side=architecture.side(image_config(_processor_home(checkpoint).json), options),
        resolution=options.resolution,
        max_patches=options.max_patches,
    )
    return LateEncoder(spec, lambda: ColPaliModel(checkpoint, architecture, options), options)


FAMILY = Family(
    library=LIBRARY,
    why="the library of ColPali's authors, which reads weights as it saved them",
    opens=open_colpali,
    reads="weights as colpali-engine saves them",
    architectures=tuple(architecture.model_class for architecture in ARCHITECTURES),
    checkpoints={
        name: card for architecture in ARCHITECTURES for name, card in architecture.checkpoints.items()
    },
)


class ColPaliModel:
    """A model of colpali-engine with its processor.

    Args:
        checkpoint: A full model, or an adapter.
        architecture: Its architecture.
        options: How it is run.

    Raises:
        ModelUnavailable: colpali-engine is not installed, or the checkpoint cannot be read.
        WeightsMismatch: The checkpoint lacks weights.
        SettingsError: Its processor does not support the options.
    """

    def __init__(
        self, checkpoint: Checkpoint, architecture: ColPaliArchitecture, options: EncoderOptions
    ) -> None:
        engine = _import_engine(checkpoint)
        import torch

        from docrag.encode.checkpoints.adapters import load_adapted
        from docrag.encode.checkpoints.loading import to_device
        from docrag.encode.runtime.windows import attend_by_length

        self._torch = torch
        self._architecture = architecture
        self._max_aspect = aspect_limit(architecture.max_aspect, options)
        self._processor = _load_processor(getattr(engine, architecture.processor), checkpoint)
        self._special = special_tokens(self._processor)
        if architecture.limit:
            architecture.limit(self._processor, options)
        guard(self._processor.tokenizer)
        self._words = QueryWords(self._processor.tokenizer, self._query_ids)
        self._model: Any = load_adapted(
            getattr(engine, architecture.model_class),
            checkpoint,
            options,
            flash_attention=architecture.flash_attention,
        )
        attend_by_length(self._model)
        if architecture.language_head:  # it stays on the meta device, from which nothing can be moved
            self._model.model.lm_head = torch.nn.Identity()
        self.device = to_device(self._model, options)

    def encode_images(self, images: Sequence[Image]) -> list[MultiVector]:
        """(n, dim) per page: its patches, and the tokens of the prompt, which have no place on the page."""
        widened = [widen(image, self._max_aspect) for image in images]
        with warnings.catch_warnings():  # PaliGemma's processor copies tensors in a way that numpy deprecates
            warnings.filterwarnings("ignore", "__array__ implementation doesn't accept", DeprecationWarning)
            inputs = self._processor.process_images(widened)
        inputs.pop("labels", None)  # with labels, ColPali would compute a loss
        inputs["pixel_values"] = inputs["pixel_values"].to(self._model.dtype)
        config = self._model.config
        pages = []
        for i, rows in enumerate(self._forward(inputs)):
            ids = inputs["input_ids"][i][inputs["attention_mask"][i].bool()]
            is_patch = (ids == config.image_token_id).cpu().numpy()
            boxes = self._architecture.boxes(self._processor, config, inputs, i)
            pages.append(MultiVector(rows, place_boxes(boxes, is_patch)))
        return pages

    def encode_texts(self, texts: Sequence[str]) -> list[MultiVector]:
        """(n, dim) per query: its tokens, and the additional ones that the model was trained with."""
        plain_texts = [without_special_tokens(text, self._special) for text in texts]
        inputs = self._processor.process_queries(plain_texts)
        ids = _unpadded_ids(inputs)
        words = [self._words.of(text, text_ids) for text, text_ids in zip(plain_texts, ids, strict=True)]
        if self._architecture.types_queries:
            inputs["token_type_ids"] = self._torch.zeros_like(inputs["input_ids"])
        vectors = self._forward(inputs)
        return [MultiVector(rows, words=names) for rows, names in zip(vectors, words, strict=True)]

    def _query_ids(self, texts: Sequence[str]) -> list[list[int]]:
        return _unpadded_ids(self._processor.process_queries(list(texts)))

    def _forward(self, inputs: Inputs) -> list[NDArray[np.float32]]:
        """One forward pass, without the rows of padding, which may be NaN.

        Rows are normalised again in float32, since bfloat16 leaves lengths of 0.996.
        """
        with self._torch.inference_mode():
            output = self._model(**inputs.to(self.device))  # (batch, tokens, dim)
        return [
            normalised(rows[mask.bool()].float().cpu().numpy())
            for rows, mask in zip(output, inputs["attention_mask"], strict=True)
        ]


def _unpadded_ids(inputs: Inputs) -> list[list[int]]:
    """The token ids of each text of a batch, without padding."""
    return [
        ids[mask.bool()].tolist()
        for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
    ]


def _import_engine(checkpoint: Checkpoint) -> Any:
    """The models of colpali-engine."""
    mend_torchvision()
    try:
        import colpali_engine.models
    except ImportError as error:
        raise ModelUnavailable(f"{checkpoint.model} needs colpali-engine: {error}", INSTALL) from error
    return colpali_engine.models


def _load_processor(processor_class: Any, checkpoint: Checkpoint) -> Any:
    home = _processor_home(checkpoint)
    try:
        return processor_class.from_pretrained(str(home.path))
    except (OSError, ValueError) as error:
        raise ModelUnavailable(
            f"the processor of {home.model} cannot be loaded: {error}",
            "check or download the checkpoint again, with its tokenizer and preprocessor_config.json",
        ) from error


def _processor_home(checkpoint: Checkpoint) -> Checkpoint:
    """Where the processor is: an adapter may leave it to its base."""
    files = ("processor_config.json", "preprocessor_config.json")
    if checkpoint.base and not any((checkpoint.path / file).is_file() for file in files):
        return checkpoint.base
    return checkpoint
