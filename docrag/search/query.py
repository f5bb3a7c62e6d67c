"""What is asked of an index."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from docrag.common.images import to_rgb
from docrag.errors import QueryError
from docrag.search.filters import Filter
from docrag.types import Mode

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Query:
    """A question, an image or a recording, or several of them, and what is wanted.

    Raises:
        QueryError: There is nothing to look for, the text is none, or k is not positive.
    """

    text: str = ""
    image: Image | None = None
    audio: Path | None = None
    k: int = 10
    mode: Mode = "hybrid"
    filter: Filter | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            hint = "give the question alone; in a chain, pick it from what goes by before the retriever"
            raise QueryError(f"the query is no text but {type(self.text).__name__}", hint)
        if not self.text.strip() and self.image is None and self.audio is None:
            raise QueryError("the query is empty", "ask a question, give some words or an image")
        if self.k < 1:
            raise QueryError(f"k = {self.k}", "ask for at least one page")


def ask(
    text: str,
    image: Image | str | os.PathLike[str] | None,
    audio: str | os.PathLike[str] | None,
    k: int,
    mode: Mode,
    filter: Filter | None,
) -> Query:
    """A query as a user gives it: images and recordings may be files.

    Raises:
        QueryError: There is nothing to look for, k is not positive, or a file is not there.
    """
    picture = open_image(image) if isinstance(image, str | os.PathLike) else image
    recording = open_recording(audio) if audio is not None else None
    return Query(text, picture, recording, k, mode, filter)


def open_image(path: str | os.PathLike[str]) -> Image:
    """An image file as a query.

    Raises:
        QueryError: There is no such file, or it is no image.
    """
    from PIL import Image as pillow
    from PIL import ImageOps

    try:
        with pillow.open(path) as opened:
            return to_rgb(ImageOps.exif_transpose(opened))
    except FileNotFoundError:
        raise QueryError(f"{path} does not exist", "give the path of an image file") from None
    except Exception as error:  # what is broken fails in any way: TypeError and struct.error are among them
        hint = "give a PNG, JPEG, WebP or TIFF"
        raise QueryError(f"{path} is no image that can be read: {error}", hint) from error


def open_recording(path: str | os.PathLike[str]) -> Path:
    """A recording as a query; the encoder reads it.

    Raises:
        QueryError: There is no such file.
    """
    if not Path(path).is_file():
        raise QueryError(f"{path} does not exist", "give the path of a recording")
    return Path(path)
