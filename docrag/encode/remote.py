"""Queries that another process encodes, which keeps one copy of the models for all its users."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docrag.common.images import to_rgb
from docrag.common.rpc.codec import Json

if TYPE_CHECKING:
    from PIL.Image import Image

    from docrag.types import MultiVector, Vector

RawImage = tuple[int, int, bytes]
"""Width, height and the RGB bytes of an image, row by row."""


class RemoteQueryEncoder:
    """The encoders of an index, as far as queries need them, in another process.

    Args:
        call: Calls a method of that process.
        models: What the encoders are, and how they are run: JSON that the other process understands.
    """

    def __init__(self, call: Callable[..., Any], models: Mapping[str, Any]) -> None:
        self._call = call
        self._models = Json(models)

    def encode_query(
        self, text: str = "", image: Image | None = None, audio: Path | None = None
    ) -> dict[str, Vector]:
        """The same as `Encoders.encode_query`."""
        recording = None if audio is None else audio.resolve()
        raw = None if image is None else pack_image(image)
        vectors: dict[str, Vector] = self._call("encode_query", self._models, text, raw, recording)
        return vectors

    def encode_words(self, text: str) -> MultiVector:
        """The same as `Encoders.encode_words`."""
        words: MultiVector = self._call("encode_words", self._models, text)
        return words


def pack_image(image: Image) -> RawImage:
    """An image as plain values; it becomes RGB."""
    rgb = to_rgb(image)
    return rgb.width, rgb.height, rgb.tobytes()


def unpack_image(raw: RawImage) -> Image:
    """The image that `pack_image` packed."""
    from PIL import Image as pillow

    width, height, content = raw
    return pillow.frombytes("RGB", (width, height), content)
