"""Loads weights, and refuses a model if some of its weights would stay random."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from docrag.encode.base import EncoderOptions
from docrag.encode.checkpoints.checkpoint import Checkpoint
from docrag.encode.runtime.batches import must_fit
from docrag.encode.runtime.device import choose_attention, choose_device, choose_dtype
from docrag.errors import ModelUnavailable, WeightsMismatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


def load_model(
    model_class: Any,
    checkpoint: Checkpoint,
    options: EncoderOptions,
    *,
    flash_attention: bool = False,
    from_adapter: Collection[str] = (),
) -> PreTrainedModel:
    """Load a model of transformers, or of a library built on it, ready to encode.

    Args:
        model_class: Has from_pretrained.
        checkpoint: Where the weights are.
        options: Device and precision.
        flash_attention: Whether the model may use flash attention.
        from_adapter: Modules whose weights an adapter supplies later.

    Raises:
        WeightsMismatch: The checkpoint lacks weights of the model, which would stay random.
        ModelUnavailable: The checkpoint cannot be read.
        ModelError: The model does not fit into memory.
    """
    started = time.perf_counter()
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    attention = choose_attention(device, dtype, flash_attention)
    try:
        with no_progress_bar(), must_fit(checkpoint.model, device):
            model, loading_info = model_class.from_pretrained(
                str(checkpoint.path),
                output_loading_info=True,
                dtype=dtype,
                attn_implementation=attention,
                ignore_mismatched_sizes=True,  # reported in loading_info then, and refused below
            )
    except (OSError, ValueError) as error:
        raise ModelUnavailable(
            f"{checkpoint.model} cannot be loaded: {error}", "check or download the checkpoint again"
        ) from error
    require_complete(loading_info, checkpoint, model_class.__name__, from_adapter)
    model.eval().requires_grad_(False)
    log_loaded(checkpoint.model, device, dtype, attention, started)
    return model


def log_loaded(model: str, device: str, dtype: torch.dtype, attention: str, started: float) -> None:
    """Log that a model was loaded, how it computes, and how long loading took."""
    logger.info(
        "loaded %s for %s in %s with %s attention (%.1f s)",
        model,
        device,
        str(dtype).removeprefix("torch."),
        attention,
        time.perf_counter() - started,
    )


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Keep transformers from drawing a progress bar while it loads weights; a program may not want one."""
    from transformers.utils import logging as transformers_logging

    was_enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            transformers_logging.enable_progress_bar()


def to_device(model: PreTrainedModel, options: EncoderOptions) -> str:
    """Move a model to its device, and return which one that is.

    Raises:
        ModelError: It does not fit into memory.
    """
    device = choose_device(options.device)
    with must_fit(type(model).__name__, device):
        model.to(torch.device(device))
    return device


def require_complete(
    loading_info: Mapping[str, Any],
    checkpoint: Checkpoint,
    model_class: str,
    from_adapter: Collection[str] = (),
) -> None:
    """Refuse a checkpoint that lacks weights of the model.

    Args:
        loading_info: What from_pretrained returns with output_loading_info.
        checkpoint: Where the weights were read.
        model_class: Class of the model.
        from_adapter: Modules whose weights an adapter supplies.

    Raises:
        WeightsMismatch: Weights are missing, or have another shape.
    """
    mismatched = (f"{name} of its shape" for name, *_ in loading_info.get("mismatched_keys") or ())
    missing = sorted({*map(str, loading_info["missing_keys"]), *mismatched})
    missing = [name for name in missing if not set(name.split(".")) & set(from_adapter)]
    if not missing:
        return
    raise WeightsMismatch(
        f"{checkpoint.model} lacks {len(missing)} weight(s) of {model_class}, such as {missing[0]}, "
        "which would stay random",
        f"it is {checkpoint.architecture or 'of no named class'}; `docrag models` lists what reads what",
    )
