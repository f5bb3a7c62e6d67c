"""Load weights, and refuse a model of which some stayed random."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from docrag.encode.checkpoints.checkpoint import Checkpoint
from docrag.encode.options import EncoderOptions
from docrag.encode.runtime.batches import must_fit
from docrag.encode.runtime.device import choose_attention, choose_device, choose_dtype
from docrag.errors import ModelUnavailable, WeightsMismatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_model(
    model_class: Any,
    checkpoint: Checkpoint,
    options: EncoderOptions,
    brought: Collection[str] = (),
    **settings: Any,
) -> PreTrainedModel:
    """A model of transformers, or of a library built on it, on its device and ready to encode.

    Args:
        model_class: Has from_pretrained.
        checkpoint: Where the weights lie.
        options: Device and precision.
        brought: Modules whose weights an adapter brings later.
        settings: For from_pretrained.

    Raises:
        WeightsMismatch: The checkpoint lacks weights of the model, which would stay random.
        ModelUnavailable: The checkpoint cannot be read.
        ModelError: It does not fit into memory.
    """
    device = choose_device(options.device)
    settings = {"dtype": choose_dtype(options.dtype, device), **settings}
    settings["ignore_mismatched_sizes"] = True  # they are told then, and refused below
    attention = choose_attention(device, settings["dtype"], model_class.__name__)
    settings.setdefault("attn_implementation", attention)
    try:
        with no_progress_bar(), must_fit(checkpoint.model, device):
            model, told = model_class.from_pretrained(
                str(checkpoint.path), output_loading_info=True, **settings
            )
    except (OSError, ValueError) as error:
        raise ModelUnavailable(
            f"{checkpoint.model} cannot be loaded: {error}", "check or download the checkpoint again"
        ) from error
    require_complete(told, checkpoint, model_class.__name__, brought)
    model.eval().requires_grad_(False)
    return model


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Keep transformers from drawing a bar while it loads weights; a program may want none."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def to_device(model: PreTrainedModel, options: EncoderOptions) -> str:
    """Move a model to its device, and say which.

    Raises:
        ModelError: It does not fit into memory.
    """
    device = choose_device(options.device)
    with must_fit(type(model).__name__, device):
        model.to(torch.device(device))
    return device


def require_complete(told: Any, checkpoint: Checkpoint, wanted: str, brought: Collection[str] = ()) -> None:
    """Refuse a checkpoint that lacks weights of the model.

    Args:
        told: What from_pretrained says with output_loading_info.
        checkpoint: Where the weights were read.
        wanted: Class of the model.
        brought: Modules whose weights come from elsewhere.

    Raises:
        WeightsMismatch: Some are missing, or have another shape.
    """
    misshapen = (f"{name} of its shape" for name, *_ in told.get("mismatched_keys") or ())
    lacking = sorted({*map(str, told["missing_keys"]), *misshapen})
    lacking = [name for name in lacking if not set(name.split(".")) & set(brought)]
    if not lacking:
        return
    raise WeightsMismatch(
        f"{checkpoint.model} lacks {len(lacking)} weight(s) of {wanted}, such as {lacking[0]}, "
        "which would stay random",
        f"it is {checkpoint.architecture or 'of no named class'}; see `docrag models` for what reads what",
    )
