"""How many pages go through the encoders together: as many as take a few seconds."""

from __future__ import annotations

from docrag.encode.encoders import Encoders

WORDS = 32
"""Pages for encoders of words: enough to sort their windows by length, few enough to keep memory flat."""
FIRST, MOST = 4, 128
"""Pages for encoders of images, which take 10 ms to a minute each."""
QUICK, SLOW = 1.0, 10.0
"""Seconds; what was encoded is safe only when its batch is written, so that no batch should take long."""


class Pace:
    """The size of the next batch.

    >>> pace = Pace(4, 128)
    >>> pace.took(0.2)
    >>> pace.pages
    8
    """

    def __init__(self, first: int, most: int) -> None:
        self.pages = first
        self._most = most

    @classmethod
    def of(cls, encoders: Encoders) -> Pace:
        """The pace to begin with; encoders of words keep it."""
        return cls(FIRST, MOST) if encoders.sees else cls(WORDS, WORDS)

    def took(self, seconds: float) -> None:
        """Tell how long a full batch took."""
        if seconds < QUICK:
            self.pages = min(2 * self.pages, self._most)
        elif seconds > SLOW and self._most > WORDS:
            self.pages = max(1, self.pages // 2)
