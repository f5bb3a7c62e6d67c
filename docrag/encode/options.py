"""How a model is run: what a user may choose for every family alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self


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
    """Pixels on the long side of the image that the model sees; 0 is the checkpoint's own."""
    max_patches: int = 0
    """Patch vectors that a page may have; 0 is the checkpoint's own."""

    @property
    def devices(self) -> list[str]:
        """The devices named, one or more."""
        return [name.strip() for name in self.device.split(",")]

    def on(self, device: str) -> Self:
        """The same on one device."""
        return replace(self, device=device)
