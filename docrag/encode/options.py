"""How a model is run: what a user may choose for every family alike."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Self

from docrag.errors import SettingsError

KNOBS = ("resolution", "max_patches")
"""The options that change what a model sees."""


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """Choices that change speed and memory; only the last two change the vectors."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps; several with commas between them get a process each."""
    dtype: str = "auto"
    """auto, float32, bfloat16 or float16."""
    batch_size: int = 0
    """Pages in one pass; 0 starts small and grows while memory lasts."""
    resolution: int = 0
    """Pixels on the long side of the image that the model sees; 0 is the checkpoint's own.

    Qwen's families get as many patches as that takes, unless max_patches bounds them.
    """
    max_patches: int = 0
    """Patch vectors that a page may have; 0 is the checkpoint's own."""

    @property
    def devices(self) -> list[str]:
        """The devices named, one or more."""
        return [name.strip() for name in self.device.split(",")]

    def on(self, device: str) -> Self:
        """The same on one device."""
        return replace(self, device=device)


def refuse_knobs(options: EncoderOptions, why: str, instead: str = "", takes: Collection[str] = ()) -> None:
    """Refuse a choice of resolution or patches that a model does not have.

    Args:
        options: What the user chose.
        why: What the model sees, in words.
        instead: What else the user may do.
        takes: Those of KNOBS that it has.

    Raises:
        SettingsError: Another of them was chosen.
    """
    refused = [
        f"--{knob.replace('_', '-')}" for knob in KNOBS if getattr(options, knob) and knob not in takes
    ]
    if refused:
        flags = " and ".join(refused)
        raise SettingsError(
            f"{why}; {flags} cannot change that", ", or ".join(filter(None, [f"leave {flags} out", instead]))
        )
