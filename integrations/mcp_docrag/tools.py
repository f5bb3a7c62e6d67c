"""The tools: what each is told to be, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mcp_types import ContentBlock, ImageContent, ResourceLink, TextContent, Tool, ToolAnnotations
from pydantic import BaseModel

from docrag import Index
from docrag.errors import DocumentError, QueryError
from docrag.types import Hit, IndexedPage
from mcp_docrag.answers import (
    PAGE_TEXT,
    Found,
    FoundPage,
    Listed,
    PageData,
    PageRead,
    cut,
    found_page,
    listed,
)
from mcp_docrag.images import PICTURED, PICTURES, content_of, crops, image_of
from mcp_docrag.schemas import Arguments, Detail, GetPage, ListDocuments, SearchPages

DOCUMENTS = 200
"""Documents in one answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool gives: blocks that a model reads, and the same facts as data."""

    content: list[ContentBlock]
    data: BaseModel


@dataclass(frozen=True, slots=True)
class PageTool:
    """A tool as it is listed, and how it is run."""

    title: str
    description: str
    arguments: type[Arguments]
    answer: type[BaseModel]
    run: Callable[[Index, Any], Answer]

    def listing(self, name: str) -> Tool:
        """What clients are told."""
        return Tool(
            name=name,
            title=self.title,
            description=self.description,
            input_schema=self.arguments.model_json_schema(),
            output_schema=self.answer.model_json_schema(),
            annotations=ToolAnnotations(
                title=self.title,
                read_only_hint=True,
                destructive_hint=False,
                idempotent_hint=True,
                open_world_hint=False,
            ),
        )


def search_pages(index: Index, asked: SearchPages) -> Answer:
    """The best pages, each with its text, its pictures while there are any, and a link.

    Raises:
        DocragError: The index cannot answer such a query.
    """
    hits = index.search(asked.query, k=asked.k, mode=asked.mode, filter=asked.filter)
    pages = [found_page(hit) for hit in hits]
    content: list[ContentBlock] = []
    for hit, page in zip(hits, pages, strict=True):
        content.append(TextContent(text=_told(page)))
        if page.rank <= PICTURED[asked.images]:
            content += _pictures(hit, PICTURES[asked.images])
        content.append(_link(page))
    if not hits:
        content.append(TextContent(text="no page found; try other words, or leave out the filter"))
    return Answer(content, Found(query=asked.query, mode=asked.mode, hits=pages))


def get_page(index: Index, asked: GetPage) -> Answer:
    """One page.

    Raises:
        NotFound: It is not in the index.
        DocragError: It has no image any more, or nothing to look for was given.
    """
    page = index.page(asked.page_id)
    data = PageRead(
        **PageData.fields_of(page),
        detail=asked.detail,
        characters=len(page.text),
    )
    head = TextContent(text=f"{data.file}, page {data.page} of {data.total_pages}")
    return Answer([head, *DETAILS[asked.detail](index, page, asked.query)], data)


def list_documents(index: Index, asked: ListDocuments) -> Answer:
    """What is indexed, by path."""
    data = listed(index.documents(), asked.offset, DOCUMENTS)
    lines = [f"{one.file} ({one.pages} pages): {one.title}" for one in data.documents]
    if data.next_offset is not None:
        lines.append(f"{data.total} documents in all; the next ones: offset={data.next_offset}")
    return Answer([TextContent(text="\n".join(lines) or "no documents")], data)


def _told(page: FoundPage) -> str:
    return (
        f"{page.rank}. {page.file}, page {page.page} of {page.total_pages} (score {page.score:.3f})\n"
        f"page_id: {page.page_id}\n{page.text}"
    )


def _link(page: PageData) -> ResourceLink:
    return ResourceLink(
        name=f"page {page.page} of {page.file}", uri=page.uri, description="The page: its text and its image."
    )


def _pictures(hit: Hit, of: Callable[[Hit], list[ImageContent]]) -> list[ContentBlock]:
    """Pictures of one page among others: where its file is gone, the others are still worth having."""
    try:
        return [*of(hit)]
    except DocumentError as error:
        return [TextContent(text=str(error))]


def _text(index: Index, page: IndexedPage, query: str) -> list[ContentBlock]:
    if not page.text.strip():
        return [TextContent(text="the page has no text; detail=image shows it")]
    return [TextContent(text=cut(page.text, PAGE_TEXT))]


def _image(index: Index, page: IndexedPage, query: str) -> list[ContentBlock]:
    return [content_of(image_of(page))]


def _regions(index: Index, page: IndexedPage, query: str) -> list[ContentBlock]:
    """Crops of one page: a search that is held to it knows what of it matches."""
    if not query.strip():
        raise QueryError("detail=regions shows what answers a query, and none was given", "give a query")
    only: dict[str, str | int] = {"document_id": page.document_id, "page": page.page}
    return [block for hit in index.search(query, k=1, mode="late", filter=only) for block in crops(hit)]


DETAILS: Mapping[Detail, Callable[[Index, IndexedPage, str], list[ContentBlock]]] = {
    "text": _text,
    "image": _image,
    "regions": _regions,
}

TOOLS: Mapping[str, PageTool] = {
    "search_pages": PageTool(
        title="Search the pages of documents",
        description=(
            "Find the pages that answer a question in the user's indexed documents (PDFs, scans, images: "
            "reports, manuals, papers, slides). Use it first for any question about these documents. Gives "
            "the best pages with file, page number, page_id and the text that matched. Where the answer is "
            "in a table, chart, form or scan, ask with images=regions and look, or call get_page. If nothing "
            "fits, search again with other words. Cite file and page in what you answer."
        ),
        arguments=SearchPages,
        answer=Found,
        run=search_pages,
    ),
    "get_page": PageTool(
        title="Read or look at one page",
        description=(
            "One page that search_pages found, by its page_id: all its text, its image, or crops of what "
            "answers a query. Use text to read it in full, image for tables, charts, drawings, forms and "
            "scans, regions where a detail of a large page has to be read."
        ),
        arguments=GetPage,
        answer=PageRead,
        run=get_page,
    ),
    "list_documents": PageTool(
        title="List the documents",
        description=(
            "Which documents are indexed: file, title, number of pages. Use it to learn what can be asked, "
            "or to find the file_name for the filter of search_pages; it does not read them."
        ),
        arguments=ListDocuments,
        answer=Listed,
        run=list_documents,
    ),
}
