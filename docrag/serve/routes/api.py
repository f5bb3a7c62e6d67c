"""The JSON API: search, documents, pages and heatmaps."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathParameter

from docrag.errors import NotFound
from docrag.index.index import Index
from docrag.serve.document_list import DocumentList
from docrag.serve.query_images import decode_base64_image
from docrag.serve.schemas import (
    BODY_ERRORS,
    ERRORS,
    DocumentListResponse,
    HeatmapResponse,
    PageResponse,
    SearchRequest,
    SearchResponse,
    document_info,
    page_region,
    search_hit,
)
from docrag.serve.searches import Searches
from docrag.serve.urls import heatmap_url, page_image_url
from docrag.types import page_id as page_id_of

PageId = Annotated[
    str,
    PathParameter(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", description="The page_id of a hit."),
]
QueryText = Annotated[
    str, Query(alias="q", min_length=1, max_length=10_000, description="A question or keywords.")
]

router = APIRouter(prefix="/v1", tags=["search"], responses=ERRORS)


@router.post("/search", response_model=SearchResponse, responses=BODY_ERRORS)
async def search(request: Request, body: SearchRequest) -> Response:
    """The pages that answer a question, best first."""
    searches: Searches = request.app.state.searches
    return await searches.run_limited(_search, searches, request, body)


@router.get("/documents")
def list_documents(request: Request) -> DocumentListResponse:
    """All documents of the index, ordered by path."""
    documents: DocumentList = request.app.state.documents
    return DocumentListResponse(documents=[document_info(document) for document in documents.all()])


@router.get("/pages/{page_id}")
def get_page(request: Request, page_id: PageId) -> PageResponse:
    """A page: its text, its text blocks with their positions, and the pages before and after it."""
    index: Index = request.app.state.index
    page = index.page(page_id)
    previous_id = page_id_of(page.document_id, page.page - 1)
    next_id = page_id_of(page.document_id, page.page + 1)
    neighbours = {neighbour.page_id for neighbour in index.pages([previous_id, next_id])}
    return PageResponse(
        file=page.file,
        page=page.page,
        page_id=page.page_id,
        document_id=page.document_id,
        page_label=str(page.metadata["page_label"]),
        total_pages=page.metadata["total_pages"],
        title=page.metadata["title"],
        text=page.text,
        regions=[page_region(block) for block in page.blocks],
        image_url=page_image_url(page.document_id, page.page),
        previous=previous_id if previous_id in neighbours else None,
        next=next_id if next_id in neighbours else None,
    )


@router.get("/pages/{page_id}/heatmap")
def get_heatmap(request: Request, page_id: PageId, query: QueryText) -> HeatmapResponse:
    """The words of a question whose matches can be shown on a page."""
    words = [word.word for word in request.app.state.searches.heatmap(page_id, query).words]
    urls = [heatmap_url(page_id, number, query) for number in range(len(words))]
    return HeatmapResponse(words=words, image_urls=urls)


@router.get(
    "/pages/{page_id}/heatmap/{number}.png",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
def get_heatmap_image(
    request: Request,
    page_id: PageId,
    number: Annotated[int, PathParameter(ge=0, le=10_000, description="Position of the word, from 0.")],
    query: QueryText,
) -> Response:
    """Where a page matches one word of a question, as a grey image: a pixel per cell, white for the best."""
    words = request.app.state.searches.heatmap(page_id, query).words
    if number >= len(words):
        raise NotFound(f"the question has no word {number}", f"it has {len(words)} words")
    headers = {"Cache-Control": "private, max-age=600"}
    return Response(words[number].png(), media_type="image/png", headers=headers)


def _search(searches: Searches, request: Request, body: SearchRequest) -> Response:
    """The response as bytes: to check it against its description would cost a sixth of the whole request."""
    image = decode_base64_image(body.image) if body.image is not None else None
    result = searches.search(
        request.headers, body.query, body.k, body.mode, body.filter, image=image, regions=body.regions
    )
    response = {
        "query": body.query,
        "mode": body.mode,
        "took_ms": round(result.seconds * 1000, 1),
        "hits": [search_hit(hit) for hit in result.hits],
    }
    return Response(orjson.dumps(response), media_type="application/json")
