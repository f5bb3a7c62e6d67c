"""What tools answer, as data beside the text: the schema of each is published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from docrag.types import Hit, IndexedDocument, IndexedPage

PAGE_TEXT = 20_000
"""Characters of a page that are given; a dense page of print has 6,000."""
EXCERPT = 800
"""Characters of a page that a search shows."""
REGION_TEXT = 300
"""Characters of a region that a search shows."""
PAGE_URI = "docrag://page/{page_id}"


def cut(text: str, most: int) -> str:
    r"""A text, or as much of it as is given, with a note.

    >>> cut("one two three", 7)
    'one two\n[6 more characters are not shown]'
    """
    rest = len(text) - most
    return f"{text[:most]}\n[{rest} more characters are not shown]" if rest > 0 else text


def excerpt(hit: Hit) -> str:
    """A page around what of it matched best, else its beginning: what stands beside a match often answers."""
    best = hit.regions[0].text if hit.regions else ""
    start = hit.text.rfind(" ", 0, max(0, hit.text.find(best) - EXCERPT // 4)) + 1  # at a word
    end = start + EXCERPT
    shown = "\n".join(line.strip() for line in hit.text[start:end].splitlines() if line.strip())
    return f"{'... ' if start else ''}{shown}{' ...' if end < len(hit.text) else ''}"


class FoundRegion(BaseModel):
    """A part of a page that the query matched."""

    box: Annotated[list[float], Field(min_length=4, max_length=4, description="x0, y0, x1, y1 in 0..1")]
    score: float
    text: str


class PageData(BaseModel):
    """Which page it is."""

    file: Annotated[str, Field(description="The document's path.")]
    page: Annotated[int, Field(description="From 1.")]
    total_pages: int
    title: Annotated[str, Field(description="Of the document.")]
    page_id: str
    uri: Annotated[str, Field(description="Of the page as a resource, text and JPEG.")]

    @classmethod
    def fields_of(cls, page: IndexedPage) -> dict[str, Any]:
        """Values for these fields."""
        return {
            "file": page.file,
            "page": page.page,
            "total_pages": page.metadata["total_pages"],
            "title": page.metadata["title"],
            "page_id": page.page_id,
            "uri": PAGE_URI.format(page_id=page.page_id),
        }


class FoundPage(PageData):
    """A page that answers a query."""

    rank: int
    score: float
    text: Annotated[str, Field(description="The page around what matched best; get_page has it all.")]
    regions: Annotated[list[FoundRegion], Field(description="Best first.")]


class Found(BaseModel):
    """Answer of search_pages."""

    query: str
    mode: str
    hits: list[FoundPage]


class PageRead(PageData):
    """Answer of get_page."""

    detail: str
    characters: Annotated[int, Field(description="Of the page's whole text.")]


class ListedDocument(BaseModel):
    """A document of the index."""

    file: str
    file_name: Annotated[str, Field(description="As the filter of search_pages takes it.")]
    title: str
    pages: int
    document_id: str


class Listed(BaseModel):
    """Answer of list_documents."""

    total: int
    documents: list[ListedDocument]
    next_offset: Annotated[int | None, Field(description="Where the rest begins; null at the end.")]


def found_page(hit: Hit) -> FoundPage:
    """A hit as data, its texts cut."""
    regions = [
        FoundRegion(
            box=[round(side, 4) for side in region.box],
            score=round(region.score, 4),
            text=region.text[:REGION_TEXT],
        )
        for region in hit.regions
    ]
    return FoundPage(
        **PageData.fields_of(hit),
        rank=hit.rank,
        score=round(hit.score, 4),
        text=excerpt(hit),
        regions=regions,
    )


def listed(documents: Sequence[IndexedDocument], offset: int, most: int) -> Listed:
    """Some of the documents, by path."""
    end = offset + most
    return Listed(
        total=len(documents),
        documents=[
            ListedDocument(
                file=one.file,
                file_name=Path(one.file).name,
                title=one.title,
                pages=one.pages,
                document_id=one.id,
            )
            for one in documents[offset:end]
        ],
        next_offset=end if end < len(documents) else None,
    )
