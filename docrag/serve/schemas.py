"""Requests and responses of the JSON API, as its description (/openapi.json) shows them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictFloat, StrictInt, StrictStr

from docrag.search.hit_json import hit_json
from docrag.serve.urls import page_image_url
from docrag.types import Block, Hit, IndexedDocument, Mode

JsonInt = Annotated[StrictInt, Field(ge=-(2**53), le=2**53)]
"""An integer that survives a round trip through JavaScript."""
FilterValue = Annotated[StrictStr, Field(max_length=4096)] | JsonInt | StrictFloat
FilterValues = FilterValue | Annotated[list[FilterValue], Field(min_length=1, max_length=1000)]
FilterKey = Annotated[str, Field(min_length=1, max_length=200)]

EXAMPLE_PAGE: dict[str, JsonValue] = {
    "file": "docs/skerry_lines_annual_report_2023.pdf",
    "page": 3,
    "page_id": "0a1c6a4e-5f8e-5b0f-9a53-0d3fb1a4c7d2",
    "document_id": "ab" * 32,
    "image_url": page_image_url("ab" * 32, 3),
}
EXAMPLE_HIT: dict[str, JsonValue] = {
    "rank": 1,
    "score": 0.83,
    "scores": {"late": 14.2, "text": 9.1},
    **EXAMPLE_PAGE,
    "text": "Revenue by segment ...",
    "regions": [
        {"box": [0.11, 0.42, 0.89, 0.47], "text": "Catering brought 12.4 million kroner", "score": 0.61}
    ],
}


class SearchRequest(BaseModel):
    """A search."""

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

    query: str = Field("", max_length=10_000, description="A question or keywords.")
    k: int = Field(10, ge=1, le=1000, description="Number of pages to return.")
    mode: Mode = Field("hybrid", description="Which signals rank the pages.")
    filter: dict[FilterKey, FilterValues] | None = Field(
        None,
        max_length=50,
        description="Metadata that a page must match, every key of it; a list matches any of its values.",
    )
    image: str | None = Field(
        None,
        description=(
            "An image that the pages should look like: PNG, JPEG, WebP or TIFF in base64. "
            "The index needs an encoder that takes images."
        ),
    )
    regions: bool = Field(
        True, description="Whether hits say which parts of their pages match; without, less is read."
    )


class PageRegion(BaseModel):
    """A part of a page. The box is x0, y0, x1, y1 from the top left corner, as fractions of the page."""

    box: tuple[float, float, float, float]
    text: str


class MatchedRegion(PageRegion):
    """A part of a page that the query matched."""

    score: float


class SearchHit(BaseModel):
    """A page, as `docrag search --json` prints it, with its document and the address of its image."""

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


class SearchResponse(BaseModel):
    """The pages that match, best first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "catering revenue", "mode": "hybrid", "took_ms": 84.1, "hits": [EXAMPLE_HIT]}
            ]
        }
    )

    query: str
    mode: Mode
    took_ms: float
    hits: list[SearchHit]


class DocumentInfo(BaseModel):
    """A document of the index."""

    document_id: str
    file: str
    files: list[str]
    title: str
    pages: int = Field(description="Number of pages in the index.")
    total_pages: int = Field(description="Number of pages in the document.")


class DocumentListResponse(BaseModel):
    """All documents of the index, ordered by path."""

    documents: list[DocumentInfo]


class PageResponse(BaseModel):
    """A page with its whole text."""

    file: str
    page: int
    page_id: str
    document_id: str
    page_label: str
    total_pages: int
    title: str
    text: str
    regions: list[PageRegion] = Field(description="Text blocks of the page, in reading order.")
    image_url: str
    previous: str | None = Field(description="Id of the previous page; null if it is not in the index.")
    next: str | None = Field(description="Id of the next page; null if it is not in the index.")


class HeatmapResponse(BaseModel):
    """The words of a query, and for each the address of a grey image that shows where a page matches it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "words": ["catering"],
                    "image_urls": [f"/v1/pages/{EXAMPLE_PAGE['page_id']}/heatmap/0.png?q=catering"],
                }
            ]
        }
    )

    words: list[str]
    image_urls: list[str]


class JobResponse(BaseModel):
    """An upload on its way into the index."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "job": "0" * 32,
                    "state": "running",
                    "files": [{"file": "a.pdf", "status": "added", "pages": 12, "error": None}],
                    "waiting_files": [],
                    "waiting_for": None,
                    "progress": {"pages": 12, "known": 40, "file": "b.pdf"},
                    "end": None,
                }
            ]
        }
    )

    job: str
    state: str
    files: list[dict[str, Any]] = Field(
        description="Result of each file so far, as `docrag ingest --json` prints it."
    )
    waiting_files: list[str]
    waiting_for: str | None = Field(
        None,
        description=(
            "Who is changing the index while this upload waits for its turn, or the Qdrant server while it "
            "does not answer; else null."
        ),
    )
    progress: dict[str, Any] | None
    end: dict[str, Any] | None


class ErrorDetail(BaseModel):
    """What went wrong and what to do about it."""

    message: str
    hint: str


class ErrorResponse(BaseModel):
    """The body of every response with status 400 or above."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"error": {"message": "the query is empty", "hint": "ask a question"}}]
        }
    )

    error: ErrorDetail


def error_schema(description: str) -> dict[str, Any]:
    """The entry of the description for one error status."""
    return {"model": ErrorResponse, "description": description}


ERRORS: dict[int | str, dict[str, Any]] = {
    400: error_schema("The request cannot be carried out as it is."),
    401: error_schema("The key is missing or wrong."),
    403: error_schema("The request comes from a page of another site, or the server is read-only."),
    404: error_schema("Not in the index."),
    421: error_schema("The server does not answer under this host name."),
    422: error_schema("The request does not match this description."),
    "5XX": error_schema("docrag, or a service that it depends on, failed."),
}
BODY_ERRORS: dict[int | str, dict[str, Any]] = {
    **ERRORS,
    408: error_schema("The request body took too long to arrive."),
    413: error_schema("The request body is too large."),
}


def search_hit(hit: Hit) -> dict[str, Any]:
    """A hit in the form of `SearchHit`."""
    image_url = page_image_url(hit.document_id, hit.page)
    return {**hit_json(hit), "document_id": hit.document_id, "image_url": image_url}


def document_info(document: IndexedDocument) -> DocumentInfo:
    """A document in the form in which the API returns it."""
    return DocumentInfo(
        document_id=document.id,
        file=document.file,
        files=list(document.files),
        title=document.title,
        pages=document.pages,
        total_pages=document.total_pages,
    )


def page_region(block: Block) -> PageRegion:
    """A text block in the form in which the API returns it."""
    x0, y0, x1, y1 = (round(side, 5) for side in block.box)
    return PageRegion(box=(x0, y0, x1, y1), text=block.text)
