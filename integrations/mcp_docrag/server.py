"""An index as an MCP server: tools that read it, and its pages as resources."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar

import mcp_types as types
from anyio import CapacityLimiter, to_thread
from mcp.server import Server
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from docrag import Index
from docrag.errors import DocragError, DocumentError, NotFound
from docrag.types import is_page_id
from mcp_docrag.images import open_page_image, to_jpeg
from mcp_docrag.schemas import MAX_PAGE_TEXT, PAGE_URI, cut_with_note, describe_invalid
from mcp_docrag.tools import TOOLS

T = TypeVar("T")
logger = logging.getLogger(__name__)

TOOL_DESCRIPTIONS = {name: tool.describe(name) for name, tool in TOOLS.items()}
MAX_CONCURRENT_REQUESTS = 4
"""Requests that are answered at the same time; further ones wait."""
FAILED = "docrag failed; the server's log says why"
INSTRUCTIONS = (
    "docrag searches the pages of the user's own documents. Call search_pages with the question and read "
    "what matched. If the text of a page is not enough, look at the page with get_page, which shows tables, "
    "charts and scans. Answer from the pages only, and name file and page."
)


def make_server(index: Index) -> Server[Any]:
    """Make a server for an index; `serve_stdio` and `serve_http` run it.

    Args:
        index: An open index, which the server only reads and does not close.
    """
    handlers = McpRequestHandlers(index)
    return Server(
        "docrag",
        version=version("docrag-qdrant"),
        title="docrag",
        instructions=INSTRUCTIONS,
        get_tool_input_schema=_input_schema,
        on_list_tools=handlers.list_tools,
        on_call_tool=handlers.call_tool,
        on_list_resources=handlers.list_resources,
        on_list_resource_templates=handlers.list_templates,
        on_read_resource=handlers.read_resource,
    )


class McpRequestHandlers:
    """Answers requests in threads, so that the event loop is not blocked.

    Args:
        index: The index; several threads may search it at the same time.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._limiter = CapacityLimiter(MAX_CONCURRENT_REQUESTS)

    async def list_tools(self, context: Any, params: Any) -> types.ListToolsResult:
        """Describe the tools."""
        return types.ListToolsResult(tools=list(TOOL_DESCRIPTIONS.values()))

    async def call_tool(self, context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        """Run a tool."""
        if params.name not in TOOLS:
            raise MCPError(types.INVALID_PARAMS, f"no such tool; there are {', '.join(TOOLS)}")
        return await self._in_thread(partial(_run_tool, self._index, params.name, params.arguments or {}))

    async def list_resources(self, context: Any, params: Any) -> types.ListResourcesResult:
        """List nothing: an index may have thousands of pages, and searches link to those that matter."""
        return types.ListResourcesResult(resources=[])

    async def list_templates(self, context: Any, params: Any) -> types.ListResourceTemplatesResult:
        """Describe the addresses of pages."""
        template = types.ResourceTemplate(
            name="page",
            title="A page of a document",
            uri_template=PAGE_URI,
            description="The text and the JPEG of the page with this page_id, which search_pages returns.",
        )
        return types.ListResourceTemplatesResult(resource_templates=[template])

    async def read_resource(
        self, context: Any, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        """Read a page."""
        try:
            return await self._in_thread(partial(_read_page, self._index, params.uri))
        except MCPError:
            raise
        except Exception:
            logger.exception("reading %r failed", params.uri)
            raise MCPError(types.INTERNAL_ERROR, FAILED) from None

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await to_thread.run_sync(function, limiter=self._limiter)


def _input_schema(tool_name: str) -> dict[str, Any] | None:
    description = TOOL_DESCRIPTIONS.get(tool_name)
    return description.input_schema if description else None


def _run_tool(index: Index, name: str, arguments: dict[str, Any]) -> types.CallToolResult:
    """Run a tool; an error is an answer too, which lets the model correct its call."""
    tool = TOOLS[name]
    try:
        answer = tool.run(index, tool.arguments.model_validate(arguments))
    except ValidationError as error:
        logger.info("%s was refused: %d invalid arguments", name, error.error_count())
        return _error_result(describe_invalid(error, tool.arguments))
    except DocragError as error:
        # The message may repeat what was asked for, which is not logged above DEBUG.
        logger.info("%s failed: %s", name, type(error).__name__)
        logger.debug("%s failed: %s", name, error)
        hint = f"\nhint: {error.hint}" if error.hint else ""
        return _error_result(f"error: {error.message}{hint}")
    except Exception:
        logger.exception("%s failed", name)
        return _error_result(f"error: {FAILED}")
    return types.CallToolResult(
        content=answer.content, structured_content=answer.data.model_dump(mode="json")
    )


def _error_result(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True)


def _read_page(index: Index, uri: str) -> types.ReadResourceResult:
    """Read a page as a resource: its text, and its image if the file still exists.

    Raises:
        MCPError: The address is not that of a page, or the page is not in the index.
    """
    page_id = uri.removeprefix(PAGE_URI.format(page_id=""))
    try:
        if page_id == uri or not is_page_id(page_id):
            raise NotFound("no such resource", f"pages are {PAGE_URI}")
        page = index.page(page_id)
    except DocragError as error:
        raise MCPError(types.INVALID_PARAMS, str(error)) from error
    text = cut_with_note(page.text, MAX_PAGE_TEXT)
    contents: list[types.TextResourceContents | types.BlobResourceContents] = [
        types.TextResourceContents(uri=uri, mime_type="text/plain", text=text)
    ]
    try:
        blob = base64.b64encode(to_jpeg(open_page_image(page))).decode()
    except DocumentError as error:
        logger.warning("a page is sent without its image: %s", error.message)
    else:
        contents.append(types.BlobResourceContents(uri=uri, mime_type="image/jpeg", blob=blob))
    return types.ReadResourceResult(contents=contents)
