"""Batches that fit into memory: they grow while memory is left, and are halved when it runs out."""

from __future__ import annotations

import errno
import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol, TypeVar

import torch

from docrag.errors import ModelError

Item = TypeVar("Item")
Result = TypeVar("Result")

FIRST = 4
"""Items in the first batch, before anything is known about their size."""
MOST = 32
"""The most items in a batch whose size is chosen automatically. ColQwen2.5-3B on an H100 took 35 ms per page
in batches of 16 and 37 ms in batches of 64, which used 20 GiB more."""
ROOM = 0.85
"""Share of the available memory that a batch is expected to use; the rest allows for larger pages and
fragmentation."""
OUT_OF_MEMORY = (
    "can't allocate memory",  # torch on a CPU
    "MPS backend out of memory",
    "Invalid buffer size",  # a single tensor larger than MPS may have
    "CUDA error: out of memory",  # CUDA itself, outside of torch's allocator
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""What the message of a RuntimeError contains if memory ran out; only torch's CUDA allocator raises a class
of its own."""

logger = logging.getLogger(__name__)


class Memory(Protocol):
    """The memory of a device in bytes, from the point of view of this process."""

    def held(self) -> int:
        """In use now; also resets the peak."""
        ...

    def peak(self) -> int:
        """The most that was in use since `held` was called."""
        ...

    def limit(self) -> int:
        """The most that this process can use, given what other processes use."""
        ...


class CudaMemory:
    """The memory of a CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def held(self) -> int:
        """In use by tensors; also resets the peak."""
        torch.cuda.reset_peak_memory_stats(self._device)
        return torch.cuda.memory_allocated(self._device)

    def peak(self) -> int:
        """The most that tensors used."""
        return torch.cuda.max_memory_allocated(self._device)

    def limit(self) -> int:
        """What is free, plus what torch's allocator has reserved."""
        free, _ = torch.cuda.mem_get_info(self._device)
        return free + torch.cuda.memory_reserved(self._device)


class _TooLarge(NamedTuple):
    """Why a batch did not fit: only the message, since the error itself would keep its tensors alive."""

    reason: str


class Batches:
    """Runs a forward pass over as many items at a time as fit into the device's memory.

    After a batch did not fit, half of it is the limit from then on: a size that was too large is not tried
    again.

    Args:
        size: Items in a batch; 0 chooses it automatically.
        device: Where the model is.
        first: Items in the first batch if size is 0; and in all batches if the memory cannot be measured, as
            on a CPU, which has little to gain from larger ones.
        memory: The memory of the device; by default it is measured on CUDA only.
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
        """The result of `forward` for each item, in order.

        A batch that does not fit is tried again in halves; no item is lost.

        Raises:
            ModelError: A single item does not fit.
            ValueError: `forward` does not return one result per item.
        """
        finished: list[Result] = []
        while len(finished) < len(items):
            batch = items[len(finished) : len(finished) + self.size]
            held = self._memory.held() if self._memory else 0
            results = self._try(batch, forward)
            if isinstance(results, _TooLarge):
                self._shrink(len(batch), results.reason)
                continue
            if len(results) != len(batch):
                raise ValueError(f"{len(results)} results for {len(batch)} items")
            finished += results
            if len(batch) == self.size:
                self._grow(held)
        return finished

    def _try(
        self, batch: Sequence[Item], forward: Callable[[Sequence[Item]], Sequence[Result]]
    ) -> Sequence[Result] | _TooLarge:
        """The results, or why memory ran out; the error and its frames are released when this returns."""
        try:
            return forward(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return _TooLarge(_reason(error))

    def _shrink(self, failed: int, reason: str) -> None:
        """Free the memory of the failed batch, and use half of its size from now on."""
        gc.collect()  # errors of libraries may be part of reference cycles
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        elif self._device.type == "mps":
            torch.mps.empty_cache()
        if failed == 1:
            raise ModelError(
                f"a single item does not fit into the memory of {self._device}: {reason}",
                "use a smaller --resolution or --max-patches, --dtype bfloat16, or --device cpu",
            )
        self.size = failed // 2
        self._memory = None
        logger.info("out of memory with %d items on %s: batches of %d now", failed, self._device, self.size)

    def _grow(self, held: int) -> None:
        """Choose the next size by the memory that a full batch took; at most twice the size."""
        if self._memory is None:
            return
        bytes_per_item = max(1, (self._memory.peak() - held) // self.size)
        fitting = int((ROOM * self._memory.limit() - held) // bytes_per_item)
        size = max(self.size, min(2 * self.size, fitting, MOST))
        if size > self.size:
            logger.debug("%d bytes per item on %s: batches of %d now", bytes_per_item, self._device, size)
        self.size = size


@contextmanager
def must_fit(model: str, device: str) -> Iterator[None]:
    """A context for loading a model that turns a lack of memory into an error with advice.

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
            "use --dtype bfloat16, another --device, or a smaller model",
        ) from None


def _reason(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)
