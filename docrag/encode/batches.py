"""Batches that fit into memory: they grow while there is room, and halve when there is none."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from docrag.errors import ModelError

Item = TypeVar("Item")
Result = TypeVar("Result")

FIRST = 4
"""Items in the first batch, before anything is known of their size."""
MOST = 256
ROOM = 0.85
"""Share of a GPU's memory that a batch may use."""


class Batches:
    """Runs a forward pass over as many items at a time as the device holds.

    Args:
        size: Items in a batch; 0 finds it out.
        device: Where the model is.
        first: Items in the first batch, where size is 0; and in all on a CPU, where it has little to gain.
    """

    def __init__(self, size: int, device: str, first: int = FIRST) -> None:
        self._device = torch.device(device)
        self._grows = size == 0 and self._device.type == "cuda"
        self.size = size or first

    def run(
        self, items: Sequence[Item], forward: Callable[[Sequence[Item]], Sequence[Result]]
    ) -> list[Result]:
        """What `forward` gives for each item, in order.

        A batch that does not fit is tried again in halves; none of its items is lost.

        Raises:
            ModelError: A single item does not fit.
        """
        done: list[Result] = []
        while len(done) < len(items):
            batch = items[len(done) : len(done) + self.size]
            results = self._try(batch, forward)
            if results is None:
                gc.collect()
                self._free()
                self._shrink(len(batch))
                continue
            done += results
            if self._grows and len(batch) == self.size and self._has_room():
                self.size = min(2 * self.size, MOST)
        return done

    def _try(
        self, batch: Sequence[Item], forward: Callable[[Sequence[Item]], Sequence[Result]]
    ) -> Sequence[Result] | None:
        """The results; None where memory ran out. The error must be gone before memory can be freed."""
        try:
            return forward(batch)
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise ModelError(
                    f"one page does not fit into the memory of {self._device}: {str(error).splitlines()[0]}",
                    "take a smaller --resolution or --max-patches, --dtype bfloat16, or --device cpu",
                ) from error
            return None

    def _shrink(self, failed: int) -> None:
        self.size = max(1, failed // 2)
        self._grows = False

    def _has_room(self) -> bool:
        """Whether twice the batch would still fit, by the most that was ever in use."""
        used = torch.cuda.max_memory_reserved(self._device)
        _, total = torch.cuda.mem_get_info(self._device)
        return 2 * used < ROOM * total

    def _free(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        elif self._device.type == "mps":
            torch.mps.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; only CUDA has a class of its own for that."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return "can't allocate memory" in text or "MPS backend out of memory" in text
