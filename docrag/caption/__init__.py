"""Captions: a line of text that says what a page is about, on every page that is indexed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from docrag.caption.text_layer import caption, plain_caption
from docrag.caption.title import title_of
from docrag.types import Page

__all__ = ["Captioner", "NoCaptioner", "TextLayerCaptioner", "title_of"]


class Captioner(Protocol):
    """Says what pages are about."""

    def caption(self, pages: Sequence[Page]) -> list[str]:
        """One caption a page, in order, none of them empty.

        Raises:
            PageFailed: Nothing can be said of one of them; the others are kept for the next time.
        """
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class TextLayerCaptioner:
    """Captions from the page's own headings and figure captions (`--caption text`)."""

    def caption(self, pages: Sequence[Page]) -> list[str]:
        """One caption a page, in order, at most 500 characters each."""
        return [caption(page) for page in pages]

    def close(self) -> None:
        """It holds nothing."""


class NoCaptioner:
    """Title and page number alone (`--caption none`): every point still has caption text."""

    def caption(self, pages: Sequence[Page]) -> list[str]:
        """One caption a page, in order."""
        return [plain_caption(page) for page in pages]

    def close(self) -> None:
        """It holds nothing."""
