"""Chooses the device that a model runs on, its precision and its implementation of attention."""

from __future__ import annotations

import logging
from importlib.util import find_spec

import torch

from docrag.errors import SettingsError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_AMPERE = 8
"""The first CUDA generation (AMD has its own numbering) that multiplies bfloat16 natively."""

logger = logging.getLogger(__name__)


def best_device() -> str:
    """Cuda or mps if torch finds one, else cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def choose_device(name: str) -> str:
    """The device of a name; "auto" means the best one.

    Raises:
        SettingsError: torch knows no such device, or this machine does not have it.
    """
    if name == "auto":
        device_name = best_device()
        logger.debug("device auto: %s", device_name)
        return device_name
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SettingsError(
            f"no device {name!r}", "auto, cpu, cuda, cuda:1 or mps; several with commas between them"
        ) from None
    available = {
        "cpu": True,
        "cuda": (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available() and not device.index,
    }
    if not available.get(device.type):
        raise SettingsError(
            f"torch {torch.__version__} finds no device {name!r}", f"--device {best_device()}"
        )
    return name if device.type == "cuda" else device.type


def choose_dtype(name: str, device: str) -> torch.dtype:
    """The precision of a name; "auto" means the best one for the device.

    Raises:
        SettingsError: There is no such precision, or it is useless on the device.
    """
    if name == "auto":
        dtype = best_dtype(device)
        logger.debug("dtype auto on %s: %s", device, dtype)
        return dtype
    if name not in DTYPES:
        raise SettingsError(f"no dtype {name!r}", f"auto, {', '.join(DTYPES)}")
    if name == "float16" and torch.device(device).type == "cpu":
        # A matrix product took 230 times as long as in float32 on a CPU without AVX512-FP16.
        raise SettingsError("float16 is useless on a CPU", "--dtype auto, bfloat16 or float32")
    return DTYPES[name]


def best_dtype(device: str) -> torch.dtype:
    """bfloat16 if the hardware multiplies it natively, else float32.

    Elsewhere bfloat16 is emulated and slower than float32. float16 is never chosen automatically: models
    trained in bfloat16, such as those based on Gemma and Qwen, overflow in it.
    """
    if device.startswith("cuda"):
        return torch.bfloat16 if _is_ampere(device) else torch.float32
    if device == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return torch.bfloat16
    return torch.float32


def choose_attention(device: str, dtype: torch.dtype, flash_attention: bool) -> str:
    """flash_attention_2 if it is installed and device, precision and model allow it, else torch's sdpa.

    Flash attention supports causal masks and padding. It silently ignores other masks, such as those of the
    models based on Gemma, whose patches also attend to later ones.

    Args:
        device: As choose_device returns it.
        dtype: The precision of the model.
        flash_attention: Whether the model's family declares that the vectors stay the same with it.
    """
    usable = flash_attention and device.startswith("cuda") and dtype in (torch.bfloat16, torch.float16)
    return "flash_attention_2" if usable and _is_ampere(device) and find_spec("flash_attn") else "sdpa"


def _is_ampere(device: str) -> bool:
    return torch.cuda.get_device_properties(torch.device(device)).major >= _AMPERE
