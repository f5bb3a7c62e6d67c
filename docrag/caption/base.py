"""What every captioner provides, and what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from docrag.errors import PageFailed
from docrag.types import Page


@dataclass(frozen=True, slots=True)
class Caption:
    """The caption of one page."""

    text: str
    """Never empty."""
    error: PageFailed | None = None
    """Why the vision model contributed nothing to this page; None where it did or was not asked."""


class Captioner(Protocol):
    """Writes captions for pages."""

    def caption(self, pages: Sequence[Page]) -> list[Caption]:
        """Return one caption per page, in the same order."""
        ...

    def close(self) -> None:
        """Release connections and files."""
        ...
