"""What the API takes and gives, as its description (/openapi.json) says it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictFloat, StrictInt, StrictStr

from docrag.search.hit_json import hit_json
from docrag.types import Block, Hit, IndexedDocument, IndexedPage, Mode

FarInt = Annotated[StrictInt, Field(ge=-(2**53), le=2**53)]
OneValue = Annotated[StrictStr, Field(max_length=4096)] | FarInt | StrictFloat
Key = Annotated[str, Field(min_length=1, max_length=200)]
Wanted = OneValue | Annotated[list[OneValue], Field(min_length=1, max_length=1000)]

PAGE: dict[str, JsonValue] = {
    "file": "docs/skerry_lines_annual_report_2023.pdf",
    "page": 3,
    "page_id": "0a1c6a4e-5f8e-5b0f-9a53-0d3fb1a4c7d2",
    "document_id": "ab" * 32,
    "image_url": f"/pages/{'ab' * 32}/3.jpg",
}
REGION: dict[str, JsonValue] = {
    "box": [0.11, 0.42, 0.89, 0.47],
    "text": "Catering brought 12.4 million kroner",
}
HIT: dict[str, JsonValue] = {
    "rank": 1,
    "score": 0.83,
    "scores": {"late": 14.2, "text": 9.1},
    **PAGE,
    "text": "Revenue by segment ...",
    "regions": [REGION | {"score": 0.61}],
}
"""Examples of the description."""


class SearchRequest(BaseModel):
    """What to look for."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "query": "How much did the ferry company earn from catering?",
                    "k": 3,
                    "filter": {"file_name": ["skerry_lines_annual_report_2023.pdf", "tarn12_manual.pdf"]},
                }
            ]
        },
    )

    query: str = Field("", max_length=10_000, description="A question or some words.")
    k: int = Field(10, ge=1, le=1000, description="How many pages.")
    mode: Mode = Field("hybrid", description="Which signals rank the pages.")
    filter: dict[Key, Wanted] | None = Field(
        None, max_length=50, description="Metadata that pages must have, all of it; a list means any of them."
    )
    image: str | None = Field(
        None,
        description="What pages should look like: PNG, JPEG, WebP or TIFF in base64; where an encoder sees.",
    )


class Region(BaseModel):
    """A part of a page; the box is x0 y0 x1 y1 in 0..1 from the top left corner."""

    box: tuple[float, float, float, float]
    text: str


class MatchedRegion(Region):
    """A part of a page that the query matched."""

    score: float


class SearchHit(BaseModel):
    """A page that answers, as `docrag search --json` gives it, with the addresses of document and picture."""

    rank: int
    score: float
    scores: dict[str, float]
    file: str
    page: int
    page_id: str
    text: str
    regions: list[MatchedRegion]
    document_id: str
    image_url: str


class SearchAnswer(BaseModel):
    """The pages that answer, best first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"query": "catering revenue", "mode": "hybrid", "took_ms": 84.1, "hits": [HIT]}]
        }
    )

    query: str
    mode: Mode
    took_ms: float
    hits: list[SearchHit]


class DocumentAnswer(BaseModel):
    """A document of the index."""

    document_id: str
    file: str
    files: list[str]
    title: str
    pages: int = Field(description="Pages that are indexed.")
    total_pages: int = Field(description="Pages that it has.")


class DocumentsAnswer(BaseModel):
    """All documents, by path."""

    documents: list[DocumentAnswer]


class PageAnswer(BaseModel):
    """A page with all of its text."""

    file: str
    page: int
    page_id: str
    document_id: str
    page_label: str
    total_pages: int
    title: str
    text: str
    regions: list[Region] = Field(description="Its blocks, in reading order.")
    image_url: str
    previous: str | None = Field(description="Id of the page before, if it is in the index.")
    next: str | None


class HeatmapAnswer(BaseModel):
    """The words of a query, each with the address of a small grey picture of where a page matched it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "words": ["catering"],
                    "image_urls": [f"/v1/pages/{PAGE['page_id']}/heatmap/0.png?q=catering"],
                }
            ]
        }
    )

    words: list[str]
    image_urls: list[str]


class Complaint(BaseModel):
    """What is wrong and what to do about it."""

    message: str
    hint: str


class ErrorAnswer(BaseModel):
    """Every answer of status 400 and above."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"error": {"message": "the query is empty", "hint": "ask a question"}}]
        }
    )

    error: Complaint


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "It cannot be asked so."},
    401: {"model": ErrorAnswer, "description": "The key is missing or wrong."},
    403: {"model": ErrorAnswer, "description": "Another site's page asks."},
    404: {"model": ErrorAnswer, "description": "It is not in the index."},
    421: {"model": ErrorAnswer, "description": "The server does not go by that name."},
    422: {"model": ErrorAnswer, "description": "The request is not as described here."},
    "5XX": {"model": ErrorAnswer, "description": "docrag or what it needs failed."},
}
BODY_ERRORS: dict[int | str, dict[str, Any]] = {
    **ERRORS,
    408: {"model": ErrorAnswer, "description": "The body came too slowly."},
    413: {"model": ErrorAnswer, "description": "The body is too large."},
}


def picture_url(page: IndexedPage) -> str:
    """Where this server shows the picture of a page; `page.image_url` names another one, perhaps."""
    return f"/pages/{page.document_id}/{page.page}.jpg"


def search_hit(hit: Hit) -> dict[str, Any]:
    """A hit as `SearchHit`."""
    return {**hit_json(hit), "document_id": hit.document_id, "image_url": picture_url(hit)}


def document_answer(document: IndexedDocument) -> DocumentAnswer:
    """A document as the API gives it."""
    return DocumentAnswer(
        document_id=document.id,
        file=document.file,
        files=list(document.files),
        title=document.title,
        pages=document.pages,
        total_pages=document.total_pages,
    )


def region_of(block: Block) -> Region:
    """A block as a region."""
    x0, y0, x1, y1 = (round(side, 5) for side in block.box)
    return Region(box=(x0, y0, x1, y1), text=block.text)
