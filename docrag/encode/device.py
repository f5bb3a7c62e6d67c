"""Where a model computes, and in what precision."""

from __future__ import annotations

import torch

from docrag.errors import SettingsError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def best_device() -> str:
    """Cuda or mps where torch finds one, else cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def choose_device(name: str) -> str:
    """The device of a name, "auto" for the best.

    Raises:
        SettingsError: torch knows no such device, or this machine has none.
    """
    if name == "auto":
        return best_device()
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SettingsError(f"no device {name!r}", "auto, cpu, cuda, cuda:1 or mps") from None
    there = {
        "cpu": True,
        "cuda": (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type):
        raise SettingsError(
            f"torch {torch.__version__} finds no device {name!r}", f"--device {best_device()}"
        )
    return name


def choose_dtype(name: str, device: str) -> torch.dtype:
    """The precision of a name, "auto" for the best on a device.

    Raises:
        SettingsError: No such precision.
    """
    if name == "auto":
        return best_dtype(device)
    if name not in DTYPES:
        raise SettingsError(f"no dtype {name!r}", f"auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def best_dtype(device: str) -> torch.dtype:
    """bfloat16 where the hardware multiplies it natively, else float32.

    A CPU without AMX or AVX512-BF16 emulates bfloat16 and is slower with it than with float32.
    """
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return torch.bfloat16
    return torch.float32


def choose_attention(device: str) -> str:
    """flash_attention_2 where its package is installed on a CUDA device, else torch's own sdpa."""
    from importlib.util import find_spec

    return "flash_attention_2" if device.startswith("cuda") and find_spec("flash_attn") else "sdpa"
