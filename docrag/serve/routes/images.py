"""Images of pages, at the addresses that payloads name."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathParameter
from PIL import Image as pillow

from docrag.errors import DocumentError, NotFound
from docrag.serve.schemas import ERRORS
from docrag.types import page_id


class Width(IntEnum):
    """Widths in pixels. The list is fixed, so that nobody can fill the memory with images of every size."""

    THUMBNAIL = 160
    RESULT = 480
    LARGE = 960


DocumentId = Annotated[str, PathParameter(pattern="^[0-9a-f]{64}$", description="The sha256 of the file.")]

CACHING = {
    "Cache-Control": "private, max-age=31536000, immutable",
    "Cross-Origin-Resource-Policy": "cross-origin",
}

router = APIRouter(tags=["images"], responses=ERRORS)


@router.get(
    "/pages/{document_id}/{number}.jpg",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, 304: {"description": "The image has not changed."}},
)
def page_image(
    request: Request,
    document_id: DocumentId,
    number: Annotated[int, PathParameter(ge=1, le=1_000_000, description="Page number, from 1.")],
    w: Annotated[Width | None, Query(description="Width in pixels; by default as rendered.")] = None,
) -> Response:
    """The image of a page, as JPEG."""
    page = request.app.state.index.page(page_id(document_id, number))
    try:
        return _jpeg_response(page.image_file(), w, request.headers.get("if-none-match", ""))
    except (FileNotFoundError, DocumentError) as error:  # the document may just have been removed
        hint = error.hint if isinstance(error, DocumentError) else "ingest the file again"
        raise NotFound(f"there is no image of {page.file}, page {page.page}", hint) from error


def _jpeg_response(path: Path, width: int | None, known_tags: str) -> Response:
    """An image with its caching headers, or status 304 if the browser already has it."""
    stat = path.stat()
    tag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}-{width or 0}"'
    headers = {**CACHING, "ETag": tag}
    if tag in known_tags:
        return Response(status_code=304, headers=headers)
    content = path.read_bytes() if width is None else resized(path, stat.st_mtime_ns, width)
    return Response(content, media_type="image/jpeg", headers=headers)


@lru_cache(maxsize=256)
def resized(path: Path, modified: int, width: int) -> bytes:
    """A JPEG file scaled down to a width; a narrower one keeps its size.

    Args:
        path: The file.
        modified: When the file was last written, so that a new file at the same path is not in the cache.
        width: Width in pixels.
    """
    with pillow.open(path, formats=("JPEG",)) as image:
        # libjpeg decodes to an eighth, a quarter or half of the size in a fraction of the time.
        image.draft("RGB", (width, width))
        scaled = image.convert("RGB")
    if width < scaled.width:
        height = max(1, round(scaled.height * width / scaled.width))
        scaled = scaled.resize((width, height), pillow.Resampling.LANCZOS)
    content = BytesIO()
    scaled.save(content, "JPEG", quality=85)
    return content.getvalue()
