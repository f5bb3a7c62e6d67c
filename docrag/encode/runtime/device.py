"""Where a model computes, and in what precision."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from docrag.errors import SettingsError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FLASH = {
    *("ColQwen2", "ColQwen2_5", "ColQwen3", "ColQwen3_5", "ColQwen2ForRetrieval"),
    *("ColIdefics3", "CLIPModel", "SiglipModel"),
}
"""Models that flash attention gives the same vectors as sdpa.

It knows causal masks and padding. Those of Gemma (ColPali, ColGemma3) have patches look ahead as well, which
it would ignore without a word; Siglip2Model has no flash attention.
"""
_AMPERE = 8
"""First generation of CUDA devices, and of AMD's by their own count, that multiplies bfloat16 natively."""


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
        raise SettingsError(
            f"no device {name!r}", "auto, cpu, cuda, cuda:1 or mps; several with commas between them"
        ) from None
    there = {
        "cpu": True,
        "cuda": (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available() and not device.index,
    }
    if not there.get(device.type):
        raise SettingsError(
            f"torch {torch.__version__} finds no device {name!r}", f"--device {best_device()}"
        )
    return name if device.type == "cuda" else device.type


def choose_dtype(name: str, device: str) -> torch.dtype:
    """The precision of a name, "auto" for the best on a device.

    Raises:
        SettingsError: No such precision, or one that the device has no use for.
    """
    if name == "auto":
        return best_dtype(device)
    if name not in DTYPES:
        raise SettingsError(f"no dtype {name!r}", f"auto, {', '.join(DTYPES)}")
    if name == "float16" and torch.device(device).type == "cpu":
        # A product of matrices took 230 times as long as in float32 on a CPU without AVX512-FP16.
        raise SettingsError("float16 is of no use on a CPU", "--dtype auto, bfloat16 or float32")
    return DTYPES[name]


def best_dtype(device: str) -> torch.dtype:
    """bfloat16 where the hardware multiplies it natively, else float32.

    Elsewhere it is emulated and slower than float32. float16 is never chosen unasked: models trained in
    bfloat16, as those around Gemma and Qwen are, overflow in it.
    """
    if device.startswith("cuda"):
        return torch.bfloat16 if _is_ampere(device) else torch.float32
    if device == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return torch.bfloat16
    return torch.float32


def choose_attention(device: str, dtype: torch.dtype = torch.float32, architecture: str = "") -> str:
    """flash_attention_2 where it is installed and device, precision and model allow it, else torch's sdpa.

    Args:
        device: As choose_device gives it.
        dtype: What the model computes in.
        architecture: Class of the model.
    """
    usable = device.startswith("cuda") and dtype in (torch.bfloat16, torch.float16) and architecture in FLASH
    return "flash_attention_2" if usable and _is_ampere(device) and find_spec("flash_attn") else "sdpa"


def _is_ampere(device: str) -> bool:
    return torch.cuda.get_device_properties(torch.device(device)).major >= _AMPERE
