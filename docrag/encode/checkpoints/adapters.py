"""LoRA adapters: a few weights that are added to those of a base model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docrag.encode.base import EncoderOptions
from docrag.encode.checkpoints.checkpoint import Checkpoint
from docrag.encode.checkpoints.loading import load_model, require_complete
from docrag.encode.runtime.batches import must_fit
from docrag.errors import ModelUnavailable

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_adapted(
    model_class: Any, checkpoint: Checkpoint, options: EncoderOptions, *, flash_attention: bool
) -> PreTrainedModel:
    """Load a full model, or the base model of an adapter with the adapter on it.

    Left to itself, from_pretrained would look the base up again by its name, and would report which weights
    the adapter lacks but no longer which ones the base lacks.

    Raises:
        WeightsMismatch: The base or the adapter lacks weights, which would stay random.
        ModelUnavailable: One of them cannot be read.
        ModelError: They do not fit into memory.
    """
    if not checkpoint.base:
        return load_model(model_class, checkpoint, options, flash_attention=flash_attention)
    modules_to_save = (checkpoint.json("adapter_config.json") or {}).get("modules_to_save") or ()
    model = load_model(
        model_class,
        checkpoint.base,
        options,
        flash_attention=flash_attention,
        from_adapter=tuple(modules_to_save),
    )
    _add_adapter(model, checkpoint, model_class.__name__)
    return model


def _add_adapter(model: PreTrainedModel, checkpoint: Checkpoint, model_class: str) -> None:
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.modeling_utils import LoadStateDictConfig

    old_names = getattr(type(model), "_checkpoint_conversion_mapping", None)  # of earlier versions
    mapping = get_model_conversion_mapping(model, old_names)
    # Weights of another shape are then reported instead of raised, and refused below.
    config = LoadStateDictConfig(weight_mapping=mapping, dtype=model.dtype, ignore_mismatched_sizes=True)
    try:
        with must_fit(checkpoint.model, str(model.device)):
            loading_info = model.load_adapter(str(checkpoint.path), load_config=config)
    except (OSError, ValueError) as error:
        raise ModelUnavailable(
            f"{checkpoint.model} cannot be loaded: {error}", "check or download the adapter again"
        ) from error
    require_complete(loading_info.to_dict(), checkpoint, f"an adapter of {model_class}")
    model.eval().requires_grad_(False)
