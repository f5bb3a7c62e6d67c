"""Images of pages, at the addresses that payloads name (`docrag.store.page_address`)."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathParameter
from PIL import Image as pillow

from docrag.errors import NotFound
from docrag.serve.card import CARD_HEADERS, card_of
from docrag.serve.page_images import ServedPages
from docrag.serve.schemas import ERRORS


class Width(IntEnum):
    """Widths in pixels. The list is fixed, so that nobody can fill the memory with images of every size."""

    THUMBNAIL = 160
    RESULT = 480
    LARGE = 960


DocumentId = Annotated[str, PathParameter(pattern="^[0-9a-f]{64}$", description="The sha256 of the file.")]

SVG = "image/svg+xml"
CACHING = {
    "Cache-Control": "private, max-age=31536000, immutable",
    "Cross-Origin-Resource-Policy": "cross-origin",
}

PageNumber = Annotated[int, PathParameter(ge=1, le=1_000_000, description="Page number, from 1.")]
ImageWidth = Annotated[Width | None, Query(description="Width in pixels; by default as rendered.")]
IMAGE_RESPONSES: dict[int | str, dict[str, object]] = {
    200: {"content": {"image/jpeg": {}}},
    304: {"description": "The image has not changed."},
}

router = APIRouter(tags=["images"], responses=ERRORS)


@router.get("/pages/{document_id}/{number}.jpg", response_class=Response, responses=IMAGE_RESPONSES)
def page_image(
    request: Request, document_id: DocumentId, number: PageNumber, w: ImageWidth = None
) -> Response:
    """The image of a page, as JPEG."""
    return _response(request, document_id, number, "", w)


@router.get(
    "/pages/{index_name}/{document_id}/{number}.jpg",
    response_class=Response,
    responses={**IMAGE_RESPONSES, 200: {"content": {"image/jpeg": {}, "image/svg+xml": {}}}},
)
def page_image_of_an_index(
    request: Request,
    index_name: Annotated[str, PathParameter(max_length=255, description="Name of the index.")],
    document_id: DocumentId,
    number: PageNumber,
    w: ImageWidth = None,
    card: Annotated[
        bool,
        Query(description="Whether browsers get an SVG that shows the top of the page where it is small."),
    ] = False,
) -> Response:
    """The image of a page, as JPEG, at the address that its payload names."""
    if not card:
        return _response(request, document_id, number, index_name, w)
    # Programs that read this address in a payload do not ask for SVG, and get the image as it is.
    as_svg = SVG in request.headers.get("accept", "")
    response = _response(request, document_id, number, index_name, None if as_svg else w, as_svg=as_svg)
    response.headers["Vary"] = "Accept"
    return response


def _response(
    request: Request,
    document_id: str,
    number: int,
    index_name: str,
    width: int | None,
    *,
    as_svg: bool = False,
) -> Response:
    """An image with its caching headers, or status 304 if the browser already has it."""
    pages: ServedPages = request.app.state.page_images
    path = pages.image_path(document_id, number, index_name)
    known_tags = request.headers.get("if-none-match", "")
    try:
        stat = path.stat()
        tag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}-{"card" if as_svg else width or 0}"'
        headers = {**CACHING, "ETag": tag}
        if tag in known_tags:
            return Response(status_code=304, headers=headers)
        if as_svg:
            content = card_of(path.read_bytes())
            return Response(content, media_type=SVG, headers={**headers, **CARD_HEADERS})
        content = path.read_bytes() if width is None else resized(path, stat.st_mtime_ns, width)
        return Response(content, media_type="image/jpeg", headers=headers)
    except FileNotFoundError:
        raise NotFound("the document was removed in this moment", "ingest the file again") from None


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
