"""An ImageBindModel from its weights: of the six towers, those for images, texts and recordings."""

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
"""Tower -> its last matrix, (dim, width); and the width of an attention head, which weights do not tell."""
NOT_USED = ("depth", "thermal", "imu")
MADE_BY = (torch.empty, torch.zeros, torch.ones)
"""What the model's parameters are made by."""
SCALE = "modality_postprocessors.text.1.log_logit_scale"


def load_model(model_class: Any, weights: Path, dim: int) -> Any:
    """The model on the CPU, in the precision of the file, ready to encode.

    The file is mapped, not read: towers that are not used cost no memory.

    Args:
        model_class: The library's ImageBindModel.
        weights: A state dict of it, saved by torch.
        dim: Length of its vectors.

    Raises:
        ModelUnavailable: The file cannot be read.
        WeightsMismatch: It lacks weights of the model, or has others.
    """
    state = _read(weights)
    with WithoutWeights():
        model = model_class(**sizes_of(state, weights, dim))
    try:
        told = model.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:
        raise _mismatch(weights, f"has other shapes: {str(error).splitlines()[-1].strip()}") from error
    lacking = [name for name in told.missing_keys if _is_used(name)]
    if lacking:
        raise _mismatch(weights, f"lacks {len(lacking)} weight(s), such as {lacking[0]}")
    unknown = told.unexpected_keys
    if unknown:
        raise _mismatch(weights, f"has {len(unknown)} weight(s) that ImageBind has not, such as {unknown[0]}")
    for part in model.children():
        for tower in NOT_USED:
            del part[tower]
    return model.eval().requires_grad_(False)


class WithoutWeights(TorchFunctionMode):
    """Makes parameters without numbers, which would be random and thrown away.

    `with torch.device("meta")` does so too, but to the few numbers that the constructor reads as well.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of torch."""
        kwargs = kwargs or {}
        return func(*args, **({"device": "meta", **kwargs} if func in MADE_BY else kwargs))


def _read(weights: Path) -> Mapping[str, torch.Tensor]:
    """The weights of the towers that are used, by name."""
    try:
        state = torch.load(weights, map_location="cpu", mmap=True, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ModelUnavailable(
            f"{weights} cannot be read as weights of torch: {str(error).partition(chr(10))[0]}",
            "download imagebind_huge.pth again",
        ) from error
    if not isinstance(state, dict):
        raise _mismatch(weights, f"holds a {type(state).__name__}, no weights by name")
    return {name: weight for name, weight in state.items() if _is_used(name)}


def sizes_of(state: Mapping[str, torch.Tensor], weights: Path, dim: int) -> dict[str, int]:
    """The sizes of the towers, for the model's constructor; towers that are not used get no layers."""
    sizes = {"out_embed_dim": dim, **{f"{tower}_num_blocks": 0 for tower in NOT_USED}}
    for tower, (last, head_width) in HEADS.items():
        if last not in state:
            raise _mismatch(weights, f"lacks {last}")
        given, width = state[last].shape
        if given != dim:
            raise _mismatch(weights, f"gives vectors of {given} numbers, not {dim}")
        start = f"modality_trunks.{tower}.blocks."
        blocks = {name.removeprefix(start).partition(".")[0] for name in state if name.startswith(start)}
        sizes[f"{tower}_embed_dim"] = width
        sizes[f"{tower}_num_blocks"] = len(blocks)
        sizes[f"{tower}_num_heads"] = width // head_width
    return sizes


def _is_used(name: str) -> bool:
    return not any(f".{tower}." in name for tower in NOT_USED)


def _mismatch(weights: Path, why: str) -> WeightsMismatch:
    return WeightsMismatch(f"{weights} {why}", "take imagebind_huge.pth as ImageBind's makers give it")
