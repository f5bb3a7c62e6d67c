"""The tools: how each is described to clients, and what it answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mcp_types import ContentBlock, ResourceLink, TextContent, Tool, ToolAnnotations
from pydantic import BaseModel

from docrag import Index
from docrag.errors import DocumentError, QueryError
from docrag.types import Hit, IndexedPage
from mcp_docrag.images import (
    PAGES_WITH_IMAGES,
    hit_images,
    image_content,
    open_page_image,
    region_crops,
)
from mcp_docrag.schemas import (
    MAX_PAGE_TEXT,
    FoundPage,
    GetPageAnswer,
    GetPageArguments,
    Images,
    ListDocumentsAnswer,
    ListDocumentsArguments,
    PageData,
    SearchPagesAnswer,
    SearchPagesArguments,
    ToolArguments,
    cut_with_note,
)

logger = logging.getLogger(__name__)

DOCUMENTS_PER_ANSWER = 200


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What a tool returns: content that a model reads, and the same facts as data."""

    content: list[ContentBlock]
    data: BaseModel


@dataclass(frozen=True, slots=True)
class PageTool:
    """How a tool is described to clients, and the function that runs it."""

    title: str
    description: str
    arguments: type[ToolArguments]
    answer: type[BaseModel]
    run: Callable[[Index, Any], ToolAnswer]

    def describe(self, name: str) -> Tool:
        """The description that clients are given."""
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


def search_pages(index: Index, arguments: SearchPagesArguments) -> ToolAnswer:
    """Search: each page with its text, its images if they were asked for, and a link.

    Raises:
        DocragError: The index cannot answer such a query.
    """
    hits = index.search(arguments.query, k=arguments.k, mode=arguments.mode, filter=arguments.filter)
    content: list[ContentBlock] = []
    pages = []
    for hit in hits:
        page = FoundPage.of(hit)
        pages.append(page)
        content.append(TextContent(text=_page_text(page)))
        if page.rank <= PAGES_WITH_IMAGES[arguments.images]:
            content += _images_or_reason(hit, arguments.images)
        content.append(_link(page))
    if not hits:
        content.append(TextContent(text="no page found; try other words, or leave out the filter"))
    return ToolAnswer(content, SearchPagesAnswer(query=arguments.query, mode=arguments.mode, hits=pages))


def get_page(index: Index, arguments: GetPageArguments) -> ToolAnswer:
    """Return one page as text, as an image, or as crops of what answers a query.

    Raises:
        NotFound: The page is not in the index.
        DocragError: Its image no longer exists, or the query is empty.
    """
    page = index.page(arguments.page_id)
    data = GetPageAnswer(**PageData.fields_of(page), detail=arguments.detail, characters=len(page.text))
    content: list[ContentBlock] = [TextContent(text=f"{data.file}, page {data.page} of {data.total_pages}")]
    if arguments.detail == "text":
        content.append(_whole_text(page))
    elif arguments.detail == "image":
        content.append(image_content(open_page_image(page)))
    else:
        content += _crops_for(index, page, arguments.query)
    return ToolAnswer(content, data)


def list_documents(index: Index, arguments: ListDocumentsArguments) -> ToolAnswer:
    """List what is indexed, by path."""
    data = ListDocumentsAnswer.of(index.documents(), arguments.offset, DOCUMENTS_PER_ANSWER)
    lines = [f"{document.file} ({document.pages} pages): {document.title}" for document in data.documents]
    if data.next_offset is not None:
        lines.append(f"{data.total} documents in all; the next ones: offset={data.next_offset}")
    return ToolAnswer([TextContent(text="\n".join(lines) or "no documents")], data)


def _page_text(page: FoundPage) -> str:
    return (
        f"{page.rank}. {page.file}, page {page.page} of {page.total_pages} (score {page.score:.3f})\n"
        f"page_id: {page.page_id}\n{page.text}"
    )


def _link(page: PageData) -> ResourceLink:
    return ResourceLink(
        name=f"page {page.page} of {page.file}", uri=page.uri, description="The page: its text and its image."
    )


def _images_or_reason(hit: Hit, images: Images) -> list[ContentBlock]:
    """The images of one page of several: if they are missing, the other pages are still worth having."""
    try:
        return [*hit_images(hit, images)]
    except DocumentError as error:
        logger.info("a page is sent without its image: %s", error.message)
        return [TextContent(text=str(error))]


def _whole_text(page: IndexedPage) -> TextContent:
    if not page.text.strip():
        return TextContent(text="the page has no text; detail=image shows it")
    return TextContent(text=cut_with_note(page.text, MAX_PAGE_TEXT))


def _crops_for(index: Index, page: IndexedPage, query: str) -> list[ContentBlock]:
    """Crop one page: a search that is limited to it finds which regions match."""
    if not query.strip():
        raise QueryError("detail=regions shows what answers a query, and the query is empty", "give a query")
    this_page: dict[str, str | int] = {"document_id": page.document_id, "page": page.page}
    crops: list[ContentBlock] = []
    for hit in index.search(query, k=1, mode="late", filter=this_page):
        crops += region_crops(hit)
    return crops


TOOLS: Mapping[str, PageTool] = {
    "search_pages": PageTool(
        title="Search the pages of documents",
        description=(
            "Find the pages that answer a question in the user's indexed documents (PDFs, scans and images: "
            "reports, manuals, papers, slides). Call this first for any question about these documents. It "
            "returns the best pages with file, page number, page_id and the text that matched. If the answer "
            "is in a table, chart, form or scan, ask with images=regions and look at the images, or call "
            "get_page. If no page fits, search again with other words. Cite file and page in your answer."
        ),
        arguments=SearchPagesArguments,
        answer=SearchPagesAnswer,
        run=search_pages,
    ),
    "get_page": PageTool(
        title="Read or look at one page",
        description=(
            "Get one page that search_pages found, by its page_id: its whole text, its image, or crops of "
            "what answers a query. Use text to read the page in full, image for tables, charts, drawings, "
            "forms and scans, and regions to read a detail of a large page."
        ),
        arguments=GetPageArguments,
        answer=GetPageAnswer,
        run=get_page,
    ),
    "list_documents": PageTool(
        title="List the documents",
        description=(
            "List the indexed documents: file, title and number of pages. Use this to learn what can be "
            "asked, or to find the file_name for the filter of search_pages. It does not read the documents."
        ),
        arguments=ListDocumentsArguments,
        answer=ListDocumentsAnswer,
        run=list_documents,
    ),
}
