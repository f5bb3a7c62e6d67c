"""The arguments of each tool and the data that it returns; clients are given the JSON schema of both.

Arguments that are unknown, too long or too large are refused here and never reach the index.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from docrag.types import Hit, IndexedDocument, IndexedPage, Mode, is_page_id

MAX_PAGES = 20
"""The highest number of pages that one search returns."""
MAX_PAGE_TEXT = 20_000
"""The highest number of characters that get_page returns; a densely printed page has 6,000."""
EXCERPT_LENGTH = 800
"""Characters of each page that search_pages returns."""
MAX_REGION_TEXT = 300
"""The highest number of characters of a region that search_pages returns."""
PAGE_URI = "docrag://page/{page_id}"

Images = Literal["none", "thumbnail", "regions", "page"]
Detail = Literal["text", "image", "regions"]


def _parse_json_string(value: Any) -> Any:
    """Some clients send an object as a string of JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('not an object such as {"file_name": "report.pdf"}') from None


def _require_page_id(value: str) -> str:
    if not is_page_id(value):
        raise ValueError("not the id of a page; search_pages returns them")
    return value


PageId = Annotated[
    str, AfterValidator(_require_page_id), Field(description="The page_id of a result of search_pages.")
]


class ToolArguments(BaseModel):
    """The arguments of a tool; an unknown one is an error and is not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SearchPagesArguments(ToolArguments):
    """Arguments of search_pages."""

    query: Annotated[
        str,
        Field(
            min_length=1,
            max_length=1000,
            description="A complete question, or some words, in the language of the documents. "
            "Name the company, product or paper that it is about.",
        ),
    ]
    k: Annotated[int, Field(ge=1, le=MAX_PAGES, description="The number of pages, best first.")] = 5
    mode: Annotated[
        Mode,
        Field(
            description="hybrid suits nearly every question; text matches exact words, numbers and codes; "
            "late compares every word of the question by meaning; cosine compares whole pages."
        ),
    ] = "hybrid"
    filter: Annotated[
        Annotated[dict[str, str | int | list[str | int]], Field(max_length=8)] | None,
        BeforeValidator(_parse_json_string),
        Field(
            description='Return only pages with these values, such as {"file_name": "report.pdf"} or '
            '{"page": 3} (pages count from 1). A list means any of its values. Other keys: source (the '
            "path), title, document_id, page_label."
        ),
    ] = None
    images: Annotated[
        Images,
        Field(
            description="Images of the best pages, in addition to the text: none; thumbnail (shows the "
            "layout only); regions (crops of what matched: readable, and much cheaper than whole pages); "
            "page (whole pages)."
        ),
    ] = "none"


class GetPageArguments(ToolArguments):
    """Arguments of get_page."""

    page_id: PageId
    detail: Annotated[
        Detail,
        Field(
            description="text: the whole text of the page; image: the page as it looks, for tables, charts, "
            "forms and scans; regions: crops of what answers `query`."
        ),
    ] = "text"
    query: Annotated[
        str, Field(max_length=1000, description="What to look for on the page; required for regions only.")
    ] = ""


class ListDocumentsArguments(ToolArguments):
    """Arguments of list_documents."""

    offset: Annotated[
        int, Field(ge=0, description="The number of documents to skip: next_offset of the answer before.")
    ] = 0


class FoundRegion(BaseModel):
    """A part of a page that matches the query."""

    box: Annotated[list[float], Field(min_length=4, max_length=4, description="x0, y0, x1, y1 in 0..1")]
    score: float
    text: str


class PageData(BaseModel):
    """Which page it is."""

    file: Annotated[str, Field(description="The path of the document.")]
    page: Annotated[int, Field(description="The page number, from 1.")]
    total_pages: int
    title: Annotated[str, Field(description="The title of the document.")]
    page_id: str
    uri: Annotated[str, Field(description="The address of the page as a resource: text and JPEG.")]

    @classmethod
    def fields_of(cls, page: IndexedPage) -> dict[str, Any]:
        """The values of these fields for a page."""
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
    text: Annotated[
        str, Field(description="The text around the best match; get_page returns the whole text.")
    ]
    regions: Annotated[list[FoundRegion], Field(description="Best first.")]

    @classmethod
    def of(cls, hit: Hit) -> FoundPage:
        """A hit with its texts shortened."""
        regions = [
            FoundRegion(
                box=[round(side, 4) for side in region.box],
                score=round(region.score, 4),
                text=region.text[:MAX_REGION_TEXT],
            )
            for region in hit.regions
        ]
        return cls(
            **PageData.fields_of(hit),
            rank=hit.rank,
            score=round(hit.score, 4),
            text=matching_excerpt(hit),
            regions=regions,
        )


class SearchPagesAnswer(BaseModel):
    """Answer of search_pages."""

    query: str
    mode: str
    hits: list[FoundPage]


class GetPageAnswer(PageData):
    """Answer of get_page."""

    detail: str
    characters: Annotated[int, Field(description="The length of the page's whole text.")]


class ListedDocument(BaseModel):
    """A document of the index."""

    file: str
    file_name: Annotated[str, Field(description="As the filter of search_pages takes it.")]
    title: str
    pages: int
    document_id: str


class ListDocumentsAnswer(BaseModel):
    """Answer of list_documents."""

    total: int
    documents: list[ListedDocument]
    next_offset: Annotated[
        int | None, Field(description="The offset of the next documents; null when there are no more.")
    ]

    @classmethod
    def of(cls, documents: Sequence[IndexedDocument], offset: int, limit: int) -> ListDocumentsAnswer:
        """At most `limit` of the documents, in their order."""
        end = offset + limit
        listed = [
            ListedDocument(
                file=document.file,
                file_name=Path(document.file).name,
                title=document.title,
                pages=document.pages,
                document_id=document.id,
            )
            for document in documents[offset:end]
        ]
        return cls(total=len(documents), documents=listed, next_offset=end if end < len(documents) else None)


def cut_with_note(text: str, max_length: int) -> str:
    r"""Cut a long text, and say how much is missing.

    >>> cut_with_note("one two three", 7)
    'one two\n[6 more characters are not shown]'
    """
    missing = len(text) - max_length
    if missing <= 0:
        return text
    return f"{text[:max_length]}\n[{missing} more characters are not shown]"


def matching_excerpt(hit: Hit) -> str:
    """Take the text around the best region, or the beginning: what is near a match often answers."""
    best = hit.regions[0].text if hit.regions else ""
    before_match = max(0, hit.text.find(best) - EXCERPT_LENGTH // 4)
    start = hit.text.rfind(" ", 0, before_match) + 1  # the beginning of a word
    end = start + EXCERPT_LENGTH
    lines = (line.strip() for line in hit.text[start:end].splitlines())
    text = "\n".join(line for line in lines if line)
    return f"{'... ' if start else ''}{text}{' ...' if end < len(hit.text) else ''}"


def describe_invalid(error: ValidationError, arguments: type[ToolArguments]) -> str:
    """Tell the model what is wrong with the arguments that it chose, without repeating their values."""
    problems = []
    for detail in error.errors(include_url=False, include_input=False):
        name = detail["loc"][0] if detail["loc"] else "arguments"
        if detail["type"] == "extra_forbidden":
            reason = "there is no such argument"
        else:
            reason = detail["msg"].removeprefix("Value error, ")
        problems.append(f"{name}: {reason}")
    text = "; ".join(dict.fromkeys(problems))
    return f"error: {text}\nhint: the arguments are {', '.join(arguments.model_fields)}"
