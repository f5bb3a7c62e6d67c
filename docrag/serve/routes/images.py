"""Pictures of pages, at the addresses that payloads name, and pictures that requests bring."""

from __future__ import annotations

import base64
from enum import IntEnum
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath
from PIL import Image as pillow
from PIL.Image import Image

from docrag.errors import NotFound, QueryError
from docrag.serve.query_images import open_picture
from docrag.serve.schemas import ERRORS
from docrag.types import page_id


class Width(IntEnum):
    """Pixels; a fixed list, so that nobody fills memory with pictures of every size."""

    THUMBNAIL = 160
    LISTED = 480
    READ = 960


DocumentId = Annotated[str, InPath(pattern="^[0-9a-f]{64}$", description="sha256 of the file.")]

CACHED = {
    "Cache-Control": "private, max-age=31536000, immutable",
    "Cross-Origin-Resource-Policy": "cross-origin",
}

router = APIRouter(tags=["pictures"], responses=ERRORS)


@router.get(
    "/pages/{document_id}/{number}.jpg",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, 304: {"description": "It did not change."}},
)
def picture(
    request: Request,
    document_id: DocumentId,
    number: Annotated[int, InPath(ge=1, le=1_000_000, description="From 1.")],
    w: Annotated[Width | None, Query(description="Width in pixels; as rendered without.")] = None,
) -> Response:
    """The picture of a page, as JPEG."""
    page = request.app.state.index.page(page_id(document_id, number))
    missing = NotFound(f"no image of {page.file}, page {page.page}", "ingest the file again")
    if page.image_path is None:
        raise missing
    try:
        return _jpeg(page.image_path, w, request.headers.get("if-none-match", ""))
    except FileNotFoundError:  # its document may just have been removed
        raise missing from None


def _jpeg(path: Path, width: int | None, known: str) -> Response:
    """A picture, unless the browser has it; with whatever else HTTP says of it."""
    stat = path.stat()
    tag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}-{width or 0}"'
    headers = {**CACHED, "ETag": tag}
    if tag in known:
        return Response(status_code=304, headers=headers)
    content = path.read_bytes() if width is None else narrowed(path, stat.st_mtime_ns, width)
    return Response(content, media_type="image/jpeg", headers=headers)


@lru_cache(maxsize=256)
def narrowed(path: Path, changed: int, width: int) -> bytes:
    """A JPEG file made narrower, never wider, as JPEG.

    Args:
        path: Of the file.
        changed: When it was written, so that another file at the same path is another picture.
        width: In pixels.
    """
    with pillow.open(path, formats=("JPEG",)) as image:
        image.draft(
            "RGB", (width, width)
        )  # libjpeg gives an eighth, quarter or half at a fraction of the time
        small = image.convert("RGB")
        height = max(1, round(small.height * width / small.width))
        if width < small.width:
            small = small.resize((width, height), pillow.Resampling.LANCZOS)
    out = BytesIO()
    small.save(out, "JPEG", quality=85)
    return out.getvalue()


def picture_from_base64(text: str) -> Image:
    """A picture that came with a request, upright and RGB.

    Raises:
        QueryError: It is none, or too large.
    """
    try:
        content = base64.b64decode(text.partition("base64,")[2] if text.startswith("data:") else text)
    except ValueError as error:
        raise QueryError("the image cannot be read", "give it in base64") from error
    return open_picture(content)
