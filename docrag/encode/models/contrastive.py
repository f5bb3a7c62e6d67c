"""Two-tower models of transformers: what CLIP and SigLIP have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from docrag.encode.base import EncoderOptions, ModelSpec, refuse_vision_options
from docrag.encode.checkpoints.checkpoint import Checkpoint
from docrag.encode.checkpoints.torchvision import mend_torchvision
from docrag.encode.page_images import image_threads
from docrag.encode.runtime.once import guard
from docrag.errors import ModelUnavailable

if TYPE_CHECKING:
    from PIL.Image import Image

LIBRARY = "transformers"
WHY = "reads CLIP and SigLIP as they were trained, the padding of texts included"

Inputs = Mapping[str, Any]
"""Tensors by the names that the model gives them."""
Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a family prepares the inputs of its models and reads their outputs."""

    model_class: str
    """Its class in transformers."""
    image_inputs: Callable[[Any, Sequence[Image]], Inputs]
    """(image processor, RGB images) -> inputs of the image tower."""
    text_inputs: Callable[[Any, Sequence[str]], Inputs]
    """(tokenizer, texts) -> inputs of the text tower."""
    probabilities: Callable[[Scores, float, float], Scores]
    """(cosines, scale, bias) -> the probabilities that the model was trained to give."""
    tokenizer_type: str | None = None
    """The tokenizer that reads the files, if the checkpoint names the wrong one."""
    flash_attention: bool = True
    """Whether transformers offers flash attention for the model."""


class ContrastiveModel:
    """A model of transformers with an image tower and a text tower.

    Args:
        checkpoint: Its weights.
        recipe: The recipe of its family.
        options: Device and precision.
        processors: Where its image processor and tokenizer are; None for beside the weights.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        recipe: Recipe,
        options: EncoderOptions,
        processors: Checkpoint | None = None,
    ) -> None:
        mend_torchvision()
        import torch
        import transformers

        from docrag.encode.checkpoints.loading import load_model, to_device

        self._torch = torch
        self._recipe = recipe
        self._images, self._tokenizer = _load_processors(processors or checkpoint, recipe.tokenizer_type)
        guard(self._tokenizer)
        model_class = getattr(transformers, recipe.model_class)
        self._model: Any = load_model(
            model_class, checkpoint, options, flash_attention=recipe.flash_attention
        )
        self.device = to_device(self._model, options)

    def encode_images(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(n, dim), the rows may have any length."""
        inputs = self._recipe.image_inputs(self._images, images)
        return self._run(self._model.get_image_features, inputs)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim), the rows may have any length; texts too long for the model are cut."""
        inputs = self._recipe.text_inputs(self._tokenizer, texts)
        return self._run(self._model.get_text_features, inputs)

    def probabilities(self, cosines: Scores) -> Scores:
        """(n, labels) from the cosines of images and texts."""
        bias = getattr(self._model, "logit_bias", None)
        scale = math.exp(float(self._model.logit_scale))
        return self._recipe.probabilities(cosines, scale, 0.0 if bias is None else float(bias))

    def _run(self, tower: Callable[..., Any], inputs: Inputs) -> NDArray[np.float32]:
        on_device = {name: self._to_device(tensor) for name, tensor in inputs.items()}
        with self._torch.inference_mode():
            output: NDArray[np.float32] = tower(**on_device).pooler_output.float().cpu().numpy()
        return output

    def _to_device(self, tensor: Any) -> Any:
        """The tensor on the device; floating-point numbers in the precision of the weights."""
        return tensor.to(self.device, self._model.dtype if tensor.is_floating_point() else None)


def read_config(checkpoint: Checkpoint) -> Any:
    """The configuration of a model, including what config.json leaves to the defaults of its class.

    Raises:
        ModelUnavailable: It cannot be read.
    """
    mend_torchvision()
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(checkpoint.path))
    except (OSError, ValueError) as error:
        raise ModelUnavailable(
            f"{checkpoint.model} has no usable config.json: {error}", "download the checkpoint again"
        ) from error


def single_spec(
    checkpoint: Checkpoint, options: EncoderOptions, *, family: str, dim: int, image_side: int, recipe: str
) -> ModelSpec:
    """What is known about a two-tower model before its weights are loaded."""
    return ModelSpec(
        family=family,
        model=checkpoint.model,
        revision=checkpoint.revision,
        digest=checkpoint.digest,
        library=LIBRARY,
        dim=dim,
        kind="single",
        needs="image",
        licence="",
        recipe=recipe,
        image_side=image_side,
        max_patches=options.max_patches,
    )


def refuse_resolution(checkpoint: Checkpoint, options: EncoderOptions, side: int) -> None:
    """Refuse options that a model with a fixed resolution does not have.

    Raises:
        SettingsError: One of them is set.
    """
    refuse_vision_options(
        options,
        f"{checkpoint.model} sees {side} by {side} pixels and nothing else",
        "use siglip2-base-naflex, which takes any number of patches",
    )


def pixel_inputs(processor: Any, images: Sequence[Image]) -> Inputs:
    """Images at the one size that a model has.

    Pillow resizes them here, on all cores, to the same pixels as the processor, which would first copy the
    whole picture twice: 8 ms of CPU instead of 14 for a page of 1,280 pixels.
    """
    if processor.do_resize and _target_size(processor.size, (1, 1)):
        resized = list(image_threads().map(lambda image: _resize(processor, image), images))
        inputs: Inputs = processor(images=resized, do_resize=False, return_tensors="pt")
    else:
        inputs = processor(images=list(images), return_tensors="pt")
    return {"pixel_values": inputs["pixel_values"]}


def _resize(processor: Any, image: Image) -> Image:
    target = _target_size(processor.size, image.size)
    return image.resize(target, processor.resample) if target else image


def _target_size(size: Mapping[str, int | None], image: tuple[int, int]) -> tuple[int, int] | None:
    """Width and height that a processor gives an image; None for rules that only relatives of CLIP have."""
    rules = {name: value for name, value in dict(size).items() if value}
    if set(rules) == {"height", "width"}:
        return rules["width"], rules["height"]
    if set(rules) != {"shortest_edge"}:
        return None
    short, long = sorted(image)
    new_short = rules["shortest_edge"]
    new_long = int(new_short * long / short)
    is_portrait = image[0] <= image[1]
    return (new_short, new_long) if is_portrait else (new_long, new_short)


def side_of(size: Any) -> int:
    """Pixels on the long side, of a size that configurations state as a number or as height and width."""
    return int(size) if isinstance(size, int) else max(int(side) for side in size)


def _load_processors(checkpoint: Checkpoint, tokenizer_type: str | None) -> tuple[Any, Any]:
    """The image processor and the tokenizer.

    Pillow resizes the images even if torchvision is installed: the two differ a little, and vectors must not
    depend on what else is installed.

    Raises:
        ModelUnavailable: A file or a package is missing.
    """
    from transformers import AutoImageProcessor, AutoTokenizer

    path = str(checkpoint.path)
    try:
        images = AutoImageProcessor.from_pretrained(path, backend="pil")
        return images, AutoTokenizer.from_pretrained(path, tokenizer_type=tokenizer_type)
    except (OSError, ValueError, ImportError) as error:
        raise ModelUnavailable(
            f"the image processor or tokenizer of {checkpoint.model} cannot be loaded: {error}",
            "check that preprocessor_config.json and the tokenizer's files are there",
        ) from error
