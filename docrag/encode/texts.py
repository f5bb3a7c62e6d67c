"""Texts that have the names of special tokens in them, as pages about HTML or models do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

OF_PICTURES = ("image_token", "video_token")
"""What processors count in a text, to fail where there is not an image for each."""


def special_tokens(processor: Any) -> list[str]:
    """What stands for an image, a padding or an end, and not for its own letters.

    Args:
        processor: Of a model that sees images, with its tokenizer.
    """
    known = processor.tokenizer.added_tokens_decoder.values()
    found = {token.content for token in known if token.special}
    found |= {str(getattr(processor, name, None) or "") for name in OF_PICTURES}
    return sorted(token for token in found if len(token) > 1)


def plain(text: str, special: Sequence[str]) -> str:
    """A text in which nothing stands for an image or the end.

    >>> plain("what is <image> here", ["<image>"])
    'what is < image> here'
    """
    for token in special:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
