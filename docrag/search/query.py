"""A query as a user gives it."""

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
    """Words, an image or a recording, or several of them, and what is wanted.

    Raises:
        QueryError: There is nothing to look for, the words are not text, or k is not positive.
    """

    text: str = ""
    image: Image | None = None
    audio: Path | None = None
    k: int = 10
    mode: Mode = "hybrid"
    filter: Filter | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise QueryError(
                f"the query is not text but {type(self.text).__name__}",
                "pass the question alone; in a chain, select it from the input before the retriever",
            )
        if not self.text.strip() and self.image is None and self.audio is None:
            raise QueryError("the query is empty", "ask a question, give some words or an image")
        if self.k < 1:
            raise QueryError(f"k = {self.k}", "ask for at least one page")


def make_query(
    text: str,
    image: Image | str | os.PathLike[str] | None,
    audio: str | os.PathLike[str] | None,
    k: int,
    mode: Mode,
    filter: Filter | None,
) -> Query:
    """A query whose image and recording may be paths of files.

    Raises:
        QueryError: There is nothing to look for, k is not positive, or a file does not exist.
    """
    opened = open_image(image) if isinstance(image, str | os.PathLike) else image
    recording = require_recording(audio) if audio is not None else None
    return Query(text, opened, recording, k, mode, filter)


def open_image(path: str | os.PathLike[str]) -> Image:
    """An image file as a query.

    Raises:
        QueryError: The file does not exist, or it is not an image.
    """
    from PIL import Image as pillow
    from PIL import ImageOps

    try:
        with pillow.open(path) as opened:
            return to_rgb(ImageOps.exif_transpose(opened))
    except FileNotFoundError:
        raise QueryError(f"{path} does not exist", "give the path of an image file") from None
    except Exception as error:  # Pillow raises anything for broken files, TypeError and struct.error included
        raise QueryError(
            f"{path} cannot be read as an image: {error}", "give a PNG, JPEG, WebP or TIFF"
        ) from error


def require_recording(path: str | os.PathLike[str]) -> Path:
    """The path of a recording; the encoder reads the file.

    Raises:
        QueryError: The file does not exist.
    """
    if not Path(path).is_file():
        raise QueryError(f"{path} does not exist", "give the path of a recording")
    return Path(path)
