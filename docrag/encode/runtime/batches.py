"""Batches that fit into memory: they grow while there is room, and halve when there is none."""

from __future__ import annotations

import errno
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol, TypeVar

import torch

from docrag.errors import ModelError

Item = TypeVar("Item")
Result = TypeVar("Result")

FIRST = 4
"""Items in the first batch, before anything is known of their size."""
MOST = 32
"""Items in any batch whose size is found out. ColQwen2.5-3B on an H100 took 35 ms a page in batches of 16 and
37 in batches of 64, which held 20 GiB more."""
ROOM = 0.85
"""Share of the memory at hand that a batch may be expected to use; the rest is for larger pages and gaps."""
OUT_OF_MEMORY = (
    "can't allocate memory",  # torch on a CPU
    "MPS backend out of memory",
    "Invalid buffer size",  # a single tensor larger than MPS may have
    "CUDA error: out of memory",  # CUDA itself, outside of torch's allocator
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""What a RuntimeError says when memory ran out; only torch's allocator for CUDA has a class of its own."""


class Memory(Protocol):
    """The memory of a device, in bytes, as this process sees it."""

    def held(self) -> int:
        """In use now; the peak starts from here."""
        ...

    def peak(self) -> int:
        """Most that was in use since `held` was asked."""
        ...

    def limit(self) -> int:
        """Most that this process can have beside the others that use the device."""
        ...


class CudaMemory:
    """The memory of a CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def held(self) -> int:
        """In use by tensors."""
        torch.cuda.reset_peak_memory_stats(self._device)
        return torch.cuda.memory_allocated(self._device)

    def peak(self) -> int:
        """Most that was in use by tensors."""
        return torch.cuda.max_memory_allocated(self._device)

    def limit(self) -> int:
        """What is free, and what torch's allocator has already."""
        free, _ = torch.cuda.mem_get_info(self._device)
        return free + torch.cuda.memory_reserved(self._device)


class _TooLarge(NamedTuple):
    """Why a batch did not fit: the words only, since the error itself would hold its tensors."""

    reason: str


class Batches:
    """Runs a forward pass over as many items at a time as the device holds.

    Once a batch did not fit, its half is the most for good: a size that was too large is not tried again.

    Args:
        size: Items in a batch; 0 finds it out.
        device: Where the model is.
        first: Items in the first batch, where size is 0; and in all where the memory cannot be asked, as on
            a CPU, which has little to gain.
        memory: That of the device; by default CUDA is asked, and nothing else can be.
    """

    def __init__(self, size: int, device: str, first: int = FIRST, memory: Memory | None = None) -> None:
        self._device = torch.device(device)
        if memory is None and self._device.type == "cuda":
            memory = CudaMemory(self._device)
        self._memory = memory if size == 0 else None
        self.size = size or first

    def run(
        self, items: Sequence[Item], forward: Callable[[Sequence[Item]], Sequence[Result]]
    ) -> list[Result]:
        """What `forward` gives for each item, in order.

        A batch that does not fit is tried again in halves; none of its items is lost.

        Raises:
            ModelError: A single item does not fit.
            ValueError: `forward` does not give one result an item.
        """
        done: list[Result] = []
        while len(done) < len(items):
            batch = items[len(done) : len(done) + self.size]
            held = self._memory.held() if self._memory else 0
            results = self._try(batch, forward)
            if isinstance(results, _TooLarge):
                self._shrink(len(batch), results.reason)
                continue
            if len(results) != len(batch):
                raise ValueError(f"{len(results)} results for {len(batch)} items")
            done += results
            if len(batch) == self.size:
                self._grow(held)
        return done

    def _try(
        self, batch: Sequence[Item], forward: Callable[[Sequence[Item]], Sequence[Result]]
    ) -> Sequence[Result] | _TooLarge:
        """The results, or why memory ran out: the error is gone when this returns, and its frames with it."""
        try:
            return forward(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return _TooLarge(_reason(error))

    def _shrink(self, failed: int, reason: str) -> None:
        """Free what the failed batch left, and take half of it from now on."""
        gc.collect()  # errors of libraries may be part of cycles
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        elif self._device.type == "mps":
            torch.mps.empty_cache()
        if failed == 1:
            raise ModelError(
                f"one item alone does not fit into the memory of {self._device}: {reason}",
                "take a smaller --resolution or --max-patches, --dtype bfloat16, or --device cpu",
            )
        self.size = failed // 2
        self._memory = None

    def _grow(self, held: int) -> None:
        """Take as many items as should fit by what a full batch took, twice as many at most."""
        if self._memory is None:
            return
        each = max(1, (self._memory.peak() - held) // self.size)
        fitting = int((ROOM * self._memory.limit() - held) // each)
        self.size = max(self.size, min(2 * self.size, fitting, MOST))


@contextmanager
def must_fit(model: str, device: str) -> Iterator[None]:
    """Around what loads a model: say what to do where it is too large.

    Raises:
        ModelError: Memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"{model} does not fit into the memory of {device}: {_reason(error)}",
            "take --dtype bfloat16, another --device, or a smaller model",
        ) from None


def _reason(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)
