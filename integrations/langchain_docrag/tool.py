"""A tool with which an agent searches the pages of an index."""

from __future__ import annotations

from typing import Literal

from langchain_core.documents import Document
from langchain_core.messages.content import ContentBlock
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import StructuredTool, ToolException
from pydantic import BaseModel, Field

from docrag.errors import QueryError
from langchain_docrag.messages import NO_PAGES, Detail, page_blocks, page_line, truncate_words

DESCRIPTION = (
    "Search the pages of the indexed documents. Returns the pages that best answer the query, each with its "
    "file, page number and text. Ask a full question, or use words that are likely to be on the page."
)

ContentAndDocuments = tuple[str | list[ContentBlock], list[Document]]
"""What the model sees, and the documents that become the artifact of the message."""


class SearchToolInput(BaseModel):
    """The arguments that the model chooses when it calls the tool."""

    query: str = Field(description="A question, or words that are likely to be on the page")


def docrag_tool(
    retriever: BaseRetriever,
    *,
    name: str = "search_pages",
    description: str = DESCRIPTION,
    images: Literal["none"] | Detail = "none",
    characters: int = 2000,
) -> StructuredTool:
    """Make a tool that retrieves pages; the artifact of its message is the list of documents.

    Args:
        retriever: Such as a `DocragRetriever`, whose `k` is the number of pages that the model gets.
        name: The name that the model calls the tool by.
        description: What the model reads about the tool; it should say what the documents are about.
        images: Whether the tool's message holds the page images beside their text, and in which detail. Some
            providers accept only text from tools (OpenAI's chat completions is one): keep "none" for those,
            and show the pages with `show_pages`.
        characters: The maximum length of each page's text.

    Returns:
        A tool for `create_agent`, `bind_tools` and `ToolNode`. A query that cannot be answered is reported to
        the model as an error of the tool; if the index cannot be read, the exception is raised.
    """

    def search(query: str, config: RunnableConfig) -> ContentAndDocuments:
        try:
            documents = retriever.invoke(query, config)
        except QueryError as error:
            raise ToolException(str(error)) from error
        return _content_of(documents, images, characters), documents

    async def asearch(query: str, config: RunnableConfig) -> ContentAndDocuments:
        try:
            documents = await retriever.ainvoke(query, config)
        except QueryError as error:
            raise ToolException(str(error)) from error
        return _content_of(documents, images, characters), documents

    return StructuredTool.from_function(
        search,
        asearch,
        name=name,
        description=description,
        args_schema=SearchToolInput,
        response_format="content_and_artifact",
        handle_tool_error=True,
    )


def _content_of(
    documents: list[Document], images: Literal["none"] | Detail, characters: int
) -> str | list[ContentBlock]:
    if not documents:
        return NO_PAGES
    if images != "none":
        return page_blocks(documents, detail=images, missing="text", text=characters)
    return "\n\n".join(
        f"{page_line(doc)}\n{truncate_words(doc.page_content, characters)}" for doc in documents
    )
