"""An ImageBindModel from its weights, with three of its six towers: images, texts and recordings."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from docrag.errors import ModelUnavailable, WeightsMismatch

HEADS = {
    "vision": ("modality_heads.vision.2.weight", 80),
    "text": ("modality_heads.text.proj.1.weight", 64),
    "audio": ("modality_heads.audio.2.weight", 64),
}
"""For each tower the name of its last matrix, (dim, width), and the width of an attention head.

The width of a head cannot be read off the weights."""
UNUSED_TOWERS = ("depth", "thermal", "imu")
PARAMETER_FACTORIES = (torch.empty, torch.zeros, torch.ones)
"""The functions with which the model makes its parameters."""
SCALE = "modality_postprocessors.text.1.log_logit_scale"


def load_imagebind_model(model_class: Any, weights: Path, dim: int) -> Any:
    """Load the model on the CPU, in the precision of the file, ready to encode.

    The file is memory-mapped: towers that are not used take no memory.

    Args:
        model_class: The library's ImageBindModel.
        weights: A file with the model's state dict, saved by torch.
        dim: Length of the vectors.

    Raises:
        ModelUnavailable: The file cannot be read.
        WeightsMismatch: Weights of the model are missing from the file, or it contains unknown ones.
    """
    state = _read_weights(weights)
    with UninitialisedParameters():
        model = model_class(**sizes_of(state, weights, dim))
    try:
        keys = model.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:
        raise _mismatch(weights, f"has other shapes: {str(error).splitlines()[-1].strip()}") from error
    missing = [name for name in keys.missing_keys if _is_used(name)]
    if missing:
        raise _mismatch(weights, f"lacks {len(missing)} weight(s), such as {missing[0]}")
    unknown = keys.unexpected_keys
    if unknown:
        raise _mismatch(
            weights, f"has {len(unknown)} weight(s) that ImageBind does not have, such as {unknown[0]}"
        )
    for part in model.children():
        for tower in UNUSED_TOWERS:
            del part[tower]
    return model.eval().requires_grad_(False)


class UninitialisedParameters(TorchFunctionMode):
    """Makes parameters without values, since random values would be replaced by the weights anyway.

    `with torch.device("meta")` would do the same, but also to the few tensors that the constructor reads.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of torch, on the meta device if it makes a parameter."""
        kwargs = kwargs or {}
        if func in PARAMETER_FACTORIES:
            kwargs = {"device": "meta", **kwargs}
        return func(*args, **kwargs)


def _read_weights(weights: Path) -> Mapping[str, torch.Tensor]:
    """Read the weights of the towers that are used, by name."""
    try:
        state = torch.load(weights, map_location="cpu", mmap=True, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        first_line = str(error).partition("\n")[0]
        raise ModelUnavailable(
            f"{weights} cannot be read as weights of torch: {first_line}",
            "download imagebind_huge.pth again",
        ) from error
    if not isinstance(state, dict):
        raise _mismatch(weights, f"holds a {type(state).__name__} instead of weights by name")
    return {name: weight for name, weight in state.items() if _is_used(name)}


def sizes_of(state: Mapping[str, torch.Tensor], weights: Path, dim: int) -> dict[str, int]:
    """Read the sizes of the towers off the weights, for the model's constructor.

    Towers that are not used get no layers.

    Raises:
        WeightsMismatch: A tower is missing, or its vectors have another length.
    """
    sizes = {"out_embed_dim": dim, **{f"{tower}_num_blocks": 0 for tower in UNUSED_TOWERS}}
    for tower, (last, head_width) in HEADS.items():
        if last not in state:
            raise _mismatch(weights, f"lacks {last}")
        output_dim, width = state[last].shape
        if output_dim != dim:
            raise _mismatch(weights, f"gives vectors of {output_dim} numbers, not {dim}")
        prefix = f"modality_trunks.{tower}.blocks."
        blocks = {name.removeprefix(prefix).partition(".")[0] for name in state if name.startswith(prefix)}
        sizes[f"{tower}_embed_dim"] = width
        sizes[f"{tower}_num_blocks"] = len(blocks)
        sizes[f"{tower}_num_heads"] = width // head_width
    return sizes


def _is_used(name: str) -> bool:
    return not any(f".{tower}." in name for tower in UNUSED_TOWERS)


def _mismatch(weights: Path, reason: str) -> WeightsMismatch:
    return WeightsMismatch(f"{weights} {reason}", "use imagebind_huge.pth as ImageBind's authors publish it")
