"""Captions: a line of text that says what a page is about, on every page that is indexed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from docrag.caption.text_layer import caption, plain_caption
from docrag.caption.title import title_of
from docrag.errors import PageFailed
from docrag.types import Page

__all__ = ["Caption", "Captioner", "NoCaptioner", "TextLayerCaptioner", "title_of"]


@dataclass(frozen=True, slots=True)
class Caption:
    """What is said of a page, and why it is less than was asked for, where it is."""

    text: str
    """Never empty."""
    error: PageFailed | None = None


class Captioner(Protocol):
    """Says what pages are about."""

    def caption(self, pages: Sequence[Page]) -> list[Caption]:
        """One caption a page, in order."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class TextLayerCaptioner:
    """Captions from the page's own headings and figure captions (`--caption text`)."""

    def caption(self, pages: Sequence[Page]) -> list[Caption]:
        """One caption a page, in order, at most 500 characters each."""
        return [Caption(caption(page)) for page in pages]

    def close(self) -> None:
        """It holds nothing."""


class NoCaptioner:
    """Title and page number alone (`--caption none`): every point still has caption text."""

    def caption(self, pages: Sequence[Page]) -> list[Caption]:
        """One caption a page, in order."""
        return [Caption(plain_caption(page)) for page in pages]

    def close(self) -> None:
        """It holds nothing."""
