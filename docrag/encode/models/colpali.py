"""Late interaction through colpali-engine, the library of ColPali's authors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from docrag.encode.base import ModelSpec
from docrag.encode.checkpoints.checkpoint import Checkpoint
from docrag.encode.checkpoints.torchvision import mend_torchvision
from docrag.encode.models.colpali_families import FAMILIES, Family, Inputs, processor_home
from docrag.encode.models.image_grids import image_settings, thinnest
from docrag.encode.models.late import LateEncoder
from docrag.encode.options import EncoderOptions
from docrag.encode.page_images import widen
from docrag.encode.runtime.once import guard
from docrag.encode.texts import plain, special_tokens
from docrag.encode.vectors.grid import place
from docrag.encode.vectors.norms import normalised
from docrag.encode.words import QueryWords
from docrag.errors import ModelUnavailable
from docrag.types import MultiVector

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image


def open_colpali(checkpoint: Checkpoint, options: EncoderOptions) -> LateEncoder:
    """An encoder of a checkpoint or LoRA adapter of colpali-engine; weights are loaded when needed.

    Raises:
        SettingsError: A resolution or a number of patches was asked of a model whose grid is fixed.
        ModelUnavailable: colpali-engine is not installed (raised when the weights are loaded).
    """
    family = FAMILIES[checkpoint.architecture]
    family.check(checkpoint.model, options)
    spec = ModelSpec(
        family=family.name,
        model=checkpoint.model,
        revision=checkpoint.revision,
        digest=checkpoint.digest,
        library="colpali-engine",
        dim=family.dimension(checkpoint),
        kind="late",
        needs="image",
        licence="",
        recipe="all tokens",
        image_side=family.side(image_settings(processor_home(checkpoint).json), options),
        resolution=options.resolution,
        max_patches=options.max_patches,
    )
    return LateEncoder(spec, lambda: ColPaliModel(checkpoint, family, options), options)


class ColPaliModel:
    """A model of colpali-engine with its processor.

    Args:
        checkpoint: A full model, or an adapter.
        family: Of its architecture.
        options: How it is run.

    Raises:
        ModelUnavailable: colpali-engine is not installed, or the checkpoint cannot be read.
        WeightsMismatch: The checkpoint lacks weights.
        SettingsError: Its processor cannot give what the options ask for.
    """

    def __init__(self, checkpoint: Checkpoint, family: Family, options: EncoderOptions) -> None:
        engine = _engine(checkpoint)
        import torch

        from docrag.encode.checkpoints.adapters import load_adapted
        from docrag.encode.checkpoints.loading import to_device
        from docrag.encode.runtime.windows import attend_by_length

        self._torch = torch
        self._family = family
        self._thinnest = thinnest(family.thinnest, options)
        self._processor = _load_processor(getattr(engine, family.processor), checkpoint)
        self._special = special_tokens(self._processor)
        if family.limit:
            family.limit(self._processor, options)
        guard(self._processor.tokenizer)
        self._words = QueryWords(self._processor.tokenizer, self._query_ids)
        self._model: Any = load_adapted(getattr(engine, checkpoint.architecture), checkpoint, options)
        attend_by_length(self._model)
        if family.language_head:  # it stays on the meta device, from where nothing can be moved
            self._model.model.lm_head = torch.nn.Identity()
        self.device = to_device(self._model, options)

    def encode_images(self, images: Sequence[Image]) -> list[MultiVector]:
        """(n, dim) a page: its patches, and the tokens of the prompt, which stand nowhere."""
        widened = [widen(image, self._thinnest) for image in images]
        with warnings.catch_warnings():  # PaliGemma's processor copies tensors in a way that numpy will drop
            warnings.filterwarnings("ignore", "__array__ implementation doesn't accept", DeprecationWarning)
            inputs = self._processor.process_images(widened)
        inputs.pop("labels", None)  # with them ColPali would compute a loss
        inputs["pixel_values"] = inputs["pixel_values"].to(self._model.dtype)
        config, found = self._model.config, []
        for i, rows in enumerate(self._forward(inputs)):
            kept = inputs["attention_mask"][i].bool()
            at = (inputs["input_ids"][i][kept] == config.image_token_id).cpu().numpy()
            found.append(MultiVector(rows, place(self._family.boxes(self._processor, config, inputs, i), at)))
        return found

    def encode_texts(self, texts: Sequence[str]) -> list[MultiVector]:
        """(n, dim) a query: its tokens and those that the model was trained to think in."""
        said = [plain(text, self._special) for text in texts]
        inputs = self._processor.process_queries(said)
        words = [self._words.of(text, ids) for text, ids in zip(said, unpadded(inputs), strict=True)]
        if self._family.types_queries:
            inputs["token_type_ids"] = self._torch.zeros_like(inputs["input_ids"])
        rows = self._forward(inputs)
        return [MultiVector(of_text, words=named) for of_text, named in zip(rows, words, strict=True)]

    def _query_ids(self, texts: Sequence[str]) -> list[list[int]]:
        return unpadded(self._processor.process_queries(list(texts)))

    def _forward(self, inputs: Inputs) -> list[NDArray[np.float32]]:
        """One pass; rows of padding are cut off, since they may be NaN. Bfloat16 leaves lengths of 0.996."""
        with self._torch.inference_mode():
            output = self._model(**inputs.to(self.device))  # (batch, tokens, dim)
        return [
            normalised(rows[mask.bool()].float().cpu().numpy())
            for rows, mask in zip(output, inputs["attention_mask"], strict=True)
        ]


def unpadded(inputs: Inputs) -> list[list[int]]:
    """The token ids of each text of a batch, without padding."""
    return [
        ids[mask.bool()].tolist()
        for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
    ]


def _engine(checkpoint: Checkpoint) -> Any:
    """The models of colpali-engine."""
    mend_torchvision()
    try:
        import colpali_engine.models
    except ImportError as error:
        raise ModelUnavailable(
            f"{checkpoint.model} needs colpali-engine: {error}", "pip install 'docrag-qdrant[colpali]'"
        ) from error
    return colpali_engine.models


def _load_processor(processor_class: Any, checkpoint: Checkpoint) -> Any:
    home = processor_home(checkpoint)
    try:
        return processor_class.from_pretrained(str(home.path))
    except (OSError, ValueError) as error:
        raise ModelUnavailable(
            f"the processor of {home.model} cannot be loaded: {error}",
            "check or download the checkpoint again, with its tokenizer and preprocessor_config.json",
        ) from error
