"""How many pages go through the encoders together: as many as take a few seconds."""

from __future__ import annotations

from docrag.encode.encoders import Encoders
from docrag.encode.options import EncoderOptions

WORDS = 32
"""Pages for encoders of words: enough to sort their windows by length, few enough to keep memory flat."""
CPU_FIRST, FIRST, MOST = 4, 32, 128
"""Pages for encoders of images, which take 10 ms to a minute each; for each device."""
QUICK, SLOW = 1.0, 10.0
"""Seconds; what was encoded is safe only when its batch is written, so that no batch should take long."""


class AdaptiveBatchSize:
    """The size of the next batch.

    Args:
        first: Pages of the first batch.
        least: No batch is smaller: what the devices take at once.
        most: No batch is larger.

    >>> batch_size = AdaptiveBatchSize(4, 1, 128)
    >>> batch_size.took(4, 60)  # with the loading of the model
    >>> batch_size.took(4, 0.2)
    >>> batch_size.pages
    8
    """

    def __init__(self, first: int, least: int, most: int) -> None:
        self.pages = max(first, least)
        self._least = least
        self._most = max(most, least)
        self._warm = False

    @classmethod
    def of(cls, encoders: Encoders, options: EncoderOptions) -> AdaptiveBatchSize:
        """The batch_size for some encoders; those of words, and those behind an address, keep theirs.

        A request that waits for its turn at a hosted model is no reason to ask for less with the next.
        """
        if not encoders.sees or not encoders.sees_here:
            return cls(WORDS, WORDS, WORDS)
        from docrag.encode.runtime.device import choose_device

        devices = len(options.devices)
        on_cpu = choose_device(options.devices[0]) == "cpu"
        least = devices * max(options.batch_size, 1)
        return cls(devices * (CPU_FIRST if on_cpu else FIRST), least, devices * MOST)

    def took(self, pages: int, seconds: float) -> None:
        """Tell how long a batch took; the first one, which loads the model, and short ones say nothing."""
        warm, self._warm = self._warm, True
        if not warm or pages < self.pages:
            return
        if seconds < QUICK:
            self.pages = min(2 * self.pages, self._most)
        elif seconds > SLOW:
            self.pages = max(self._least, self.pages // 2)
