"""How many pages go through the encoders together: as many as take a few seconds."""

from __future__ import annotations

import logging

from docrag.encode.base import EncoderOptions
from docrag.encode.encoders import Encoders

logger = logging.getLogger(__name__)

WORDS = 32
"""Pages in a batch for encoders of words: enough to sort their windows by length, few enough to keep memory
flat."""
CPU_FIRST, FIRST, MOST = 4, 32, 128
"""Pages for each device, for encoders of images: in the first batch on a CPU, in the first batch on a GPU,
and at most. A page takes 10 ms to a minute."""
QUICK_SECONDS, SLOW_SECONDS = 1.0, 10.0
"""A batch that is quicker is doubled, one that is slower is halved. Encoded pages are safe only once their
batch is written, so no batch should take long."""


class AdaptiveBatchSize:
    """The number of pages in the next batch, adapted to how long the last ones took.

    Args:
        first: Pages of the first batch.
        least: The smallest batch: what all devices take at once.
        most: The largest batch.

    >>> batch_size = AdaptiveBatchSize(4, 1, 128)
    >>> batch_size.took(4, 60)  # includes the loading of the model
    >>> batch_size.took(4, 0.2)
    >>> batch_size.pages
    8
    """

    def __init__(self, first: int, least: int, most: int) -> None:
        self.pages = max(first, least)
        self._least = least
        self._most = max(most, least)
        self._model_is_loaded = False

    @classmethod
    def of(cls, encoders: Encoders, options: EncoderOptions) -> AdaptiveBatchSize:
        """The batch size for some encoders. It is constant for encoders of words and for hosted models.

        A request that waits in the queue of a hosted model is no reason to send less with the next one.
        """
        if not encoders.sees or not encoders.sees_here:
            return cls(WORDS, WORDS, WORDS)
        from docrag.encode.runtime.device import choose_device

        devices = len(options.devices)
        on_cpu = choose_device(options.devices[0]) == "cpu"
        least = devices * max(options.batch_size, 1)
        return cls(devices * (CPU_FIRST if on_cpu else FIRST), least, devices * MOST)

    def took(self, pages: int, seconds: float) -> None:
        """Report how long a batch took.

        The first one, which loads the model, and partial ones do not count.
        """
        counts = self._model_is_loaded and pages >= self.pages
        self._model_is_loaded = True
        if not counts:
            return
        before = self.pages
        if seconds < QUICK_SECONDS:
            self.pages = min(2 * self.pages, self._most)
        elif seconds > SLOW_SECONDS:
            self.pages = max(self._least, self.pages // 2)
        if self.pages != before:
            logger.debug("batch of %d pages took %.1f s: the next has %d", before, seconds, self.pages)
