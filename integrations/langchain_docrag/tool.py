"""A tool with which an agent looks for pages."""

from __future__ import annotations

from typing import Literal

from langchain_core.documents import Document
from langchain_core.messages.content import ContentBlock
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import StructuredTool, ToolException
from pydantic import BaseModel, Field

from docrag.errors import QueryError
from langchain_docrag.messages import NOTHING, Detail, page_blocks, page_line, shortened

DESCRIPTION = (
    "Search the pages of the indexed documents. Returns the pages that best answer the query, each with its "
    "file, page number and text. Ask with a full question or with the words that the page would use."
)

Found = tuple[str | list[ContentBlock], list[Document]]


class SearchPages(BaseModel):
    """What the model says when it calls the tool."""

    query: str = Field(description="A question, or words that the page would use")


def docrag_tool(
    retriever: BaseRetriever,
    *,
    name: str = "search_pages",
    description: str = DESCRIPTION,
    images: Literal["none"] | Detail = "none",
    characters: int = 2000,
) -> StructuredTool:
    """A tool that retrieves pages; its message's artifact is the list of documents.

    Args:
        retriever: Such as a `DocragRetriever`; how many pages the model gets is its k.
        name: What the model calls it by.
        description: What the model reads of it; say what the documents are about.
        images: Whether the tool's message has the pages' images beside their text, and in which detail. Some
            providers take only text from tools (OpenAI's chat completions is one): leave it at none there,
            and show the pages with `show_pages`.
        characters: Most of each page's text.

    Returns:
        A tool for `create_agent`, `bind_tools` and `ToolNode`. A query that cannot be answered is told to the
        model as an error; that the index cannot be read is raised.
    """

    def search(query: str, config: RunnableConfig) -> Found:
        try:
            return _told(retriever.invoke(query, config), images, characters)
        except QueryError as error:
            raise ToolException(str(error)) from error

    async def asearch(query: str, config: RunnableConfig) -> Found:
        try:
            return _told(await retriever.ainvoke(query, config), images, characters)
        except QueryError as error:
            raise ToolException(str(error)) from error

    return StructuredTool.from_function(
        search,
        asearch,
        name=name,
        description=description,
        args_schema=SearchPages,
        response_format="content_and_artifact",
        handle_tool_error=True,
    )


def _told(docs: list[Document], images: Literal["none"] | Detail, characters: int) -> Found:
    """What the model sees, and the documents."""
    if not docs:
        return NOTHING, docs
    if images != "none":
        return page_blocks(docs, detail=images, missing="text", text=characters), docs
    return "\n\n".join(f"{page_line(doc)}\n{shortened(doc.page_content, characters)}" for doc in docs), docs
