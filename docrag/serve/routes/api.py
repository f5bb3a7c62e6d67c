"""The JSON API: search, documents, pages and heatmaps."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath

from docrag.errors import NotFound
from docrag.index.index import Index
from docrag.search.filters import Filter
from docrag.serve.document_list import Documents
from docrag.serve.routes.images import picture_from_base64
from docrag.serve.schemas import (
    BODY_ERRORS,
    ERRORS,
    DocumentsAnswer,
    HeatmapAnswer,
    PageAnswer,
    SearchAnswer,
    SearchRequest,
    document_answer,
    picture_url,
    region_of,
    search_hit,
)
from docrag.serve.searches import Searches
from docrag.types import IndexedPage, page_id

PageId = Annotated[
    str, InPath(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", description="Of a hit.")
]
Question = Annotated[
    str, Query(alias="q", min_length=1, max_length=10_000, description="A question or words.")
]

router = APIRouter(prefix="/v1", tags=["search"], responses=ERRORS)


@router.post("/search", response_model=SearchAnswer, responses=BODY_ERRORS)
async def search(request: Request, wanted: SearchRequest) -> dict[str, Any]:
    """The pages that answer a question, best first."""
    searches: Searches = request.app.state.searches
    return await searches.in_turn(_search, searches, request, wanted)


@router.get("/documents")
def documents(request: Request) -> DocumentsAnswer:
    """What is indexed, by path."""
    documents: Documents = request.app.state.documents
    return DocumentsAnswer(documents=[document_answer(document) for document in documents.all()])


@router.get("/pages/{page_id}")
def page(request: Request, page_id: PageId) -> PageAnswer:
    """A page: its text, its blocks with where they stand, and the pages before and after it."""
    index: Index = request.app.state.index
    found = index.page(page_id)
    before, after = _neighbours(index, found)
    return PageAnswer(
        file=found.file,
        page=found.page,
        page_id=found.page_id,
        document_id=found.document_id,
        page_label=str(found.metadata["page_label"]),
        total_pages=found.metadata["total_pages"],
        title=found.metadata["title"],
        text=found.text,
        regions=[region_of(block) for block in found.blocks],
        image_url=picture_url(found),
        previous=before,
        next=after,
    )


@router.get("/pages/{page_id}/heatmap")
def heatmap(request: Request, page_id: PageId, q: Question) -> HeatmapAnswer:
    """The words of a question that can be shown on a page."""
    words = [word.word for word in request.app.state.searches.heatmap(page_id, q).words]
    query = urlencode({"q": q})
    urls = [f"/v1/pages/{page_id}/heatmap/{n}.png?{query}" for n in range(len(words))]
    return HeatmapAnswer(words=words, image_urls=urls)


@router.get(
    "/pages/{page_id}/heatmap/{number}.png",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
def heatmap_picture(
    request: Request,
    page_id: PageId,
    number: Annotated[int, InPath(ge=0, le=10_000, description="Of the word, from 0.")],
    q: Question,
) -> Response:
    """Where a page matched one word of a question: a grey picture, a pixel a cell, white for the best."""
    words = request.app.state.searches.heatmap(page_id, q).words
    if number >= len(words):
        raise NotFound(f"the question has no word {number}", f"it has {len(words)}")
    headers = {"Cache-Control": "private, max-age=600"}
    return Response(words[number].png(), media_type="image/png", headers=headers)


def _search(searches: Searches, request: Request, wanted: SearchRequest) -> dict[str, Any]:
    image = picture_from_base64(wanted.image) if wanted.image is not None else None
    filter: Filter | None = wanted.filter
    found = searches.search(request.headers, wanted.query, wanted.k, wanted.mode, filter, image=image)
    told = {"query": wanted.query, "mode": wanted.mode, "took_ms": round(found.seconds * 1000, 1)}
    return told | {"hits": [search_hit(hit) for hit in found.hits]}


def _neighbours(index: Index, page: IndexedPage) -> tuple[str | None, str | None]:
    """Ids of the pages before and after one, None where they are not in the index."""
    near = [page_id(page.document_id, number) for number in (page.page - 1, page.page + 1)]
    there = {found.page_id for found in index.pages(near)}
    before, after = (name if name in there else None for name in near)
    return before, after
