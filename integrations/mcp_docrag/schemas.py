"""What a model may ask for; what is unknown, too long or too much never reaches the index."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from docrag.types import Mode, is_page_id

MOST_PAGES = 20
"""Pages that one search gives."""

Images = Literal["none", "thumbnail", "regions", "page"]
Detail = Literal["text", "image", "regions"]


def _parsed(given: Any) -> Any:
    """Some clients send an object as a string of JSON."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError:
        raise ValueError('not an object such as {"file_name": "report.pdf"}') from None


def _page_id(given: str) -> str:
    if not is_page_id(given):
        raise ValueError("not the id of a page; search_pages gives them")
    return given


PageId = Annotated[
    str, AfterValidator(_page_id), Field(description="The page_id of a result of search_pages.")
]


class Arguments(BaseModel):
    """Arguments of a tool; a misspelt one is an error, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SearchPages(Arguments):
    """Arguments of search_pages."""

    query: Annotated[
        str,
        Field(
            min_length=1,
            max_length=1000,
            description="A question in full, or some words, in the language of the documents. "
            "Name the company, product or paper that it is about.",
        ),
    ]
    k: Annotated[int, Field(ge=1, le=MOST_PAGES, description="How many pages, best first.")] = 5
    mode: Annotated[
        Mode,
        Field(
            description="hybrid suits nearly every question; text matches exact words, numbers and codes; "
            "late compares every word of the question by meaning; cosine compares whole pages."
        ),
    ] = "hybrid"
    filter: Annotated[
        Annotated[dict[str, str | int | list[str | int]], Field(max_length=8)] | None,
        BeforeValidator(_parsed),
        Field(
            description='Only pages with these values, such as {"file_name": "report.pdf"} or {"page": 3} '
            "(pages count from 1); a list means any of its values; other keys: source (the path), title, "
            "document_id, page_label.",
        ),
    ] = None
    images: Annotated[
        Images,
        Field(
            description="Pictures of the best pages beside the text: none; thumbnail (layout only); regions "
            "(crops of what matched: readable, and much cheaper than pages); page (whole pages)."
        ),
    ] = "none"


class GetPage(Arguments):
    """Arguments of get_page."""

    page_id: PageId
    detail: Annotated[
        Detail,
        Field(
            description="text: all text of the page; image: the page as it looks, for tables, charts, forms "
            "and scans; regions: crops of what answers `query`."
        ),
    ] = "text"
    query: Annotated[
        str, Field(max_length=1000, description="What to look for on the page; needed for regions only.")
    ] = ""


class ListDocuments(Arguments):
    """Arguments of list_documents."""

    offset: Annotated[int, Field(ge=0, description="Documents to leave out, from an answer before.")] = 0


def complaint(error: ValidationError, arguments: type[Arguments]) -> str:
    """What is wrong with some arguments, for the model that chose them; their values are not repeated."""
    unknown = "there is no such argument"
    wrong = [
        f"{one['loc'][0] if one['loc'] else 'arguments'}: "
        + (unknown if one["type"] == "extra_forbidden" else one["msg"].removeprefix("Value error, "))
        for one in error.errors(include_url=False, include_input=False)
    ]
    return (
        f"error: {'; '.join(dict.fromkeys(wrong))}\nhint: arguments are {', '.join(arguments.model_fields)}"
    )
