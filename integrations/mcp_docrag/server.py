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
from mcp_docrag.answers import PAGE_TEXT, PAGE_URI, cut
from mcp_docrag.images import image_of, jpeg
from mcp_docrag.schemas import complaint
from mcp_docrag.tools import TOOLS

T = TypeVar("T")
logger = logging.getLogger(__name__)

LISTED = {name: tool.listing(name) for name, tool in TOOLS.items()}
AT_ONCE = 4
"""Searches side by side; what comes above that waits."""
FAILED = "docrag failed; the server's log says why"
INSTRUCTIONS = (
    "docrag searches the pages of the user's own documents. Call search_pages with the question, read what "
    "matched, and look at a page with get_page where its text is not enough: it sees tables, charts and "
    "scans. Answer from the pages only, and name file and page."
)


def make_server(index: Index) -> Server[Any]:
    """A server over an index that somebody else opens and closes; `serve_stdio` and `serve_http` run it.

    Args:
        index: Only read from.
    """
    face = _Face(index)
    return Server(
        "docrag",
        version=version("docrag-qdrant"),
        title="docrag",
        instructions=INSTRUCTIONS,
        get_tool_input_schema=lambda name: LISTED[name].input_schema if name in LISTED else None,
        on_list_tools=face.list_tools,
        on_call_tool=face.call_tool,
        on_list_resources=face.list_resources,
        on_list_resource_templates=face.list_templates,
        on_read_resource=face.read_resource,
    )


class _Face:
    """Answers requests, in threads: the event loop goes on meanwhile.

    Args:
        index: Searches of it are safe side by side.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._at_once = CapacityLimiter(AT_ONCE)

    async def list_tools(self, context: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=list(LISTED.values()))

    async def call_tool(self, context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        if params.name not in TOOLS:
            raise MCPError(types.INVALID_PARAMS, f"no such tool; there are {', '.join(TOOLS)}")
        return await self._beside(partial(_called, self._index, params.name, params.arguments or {}))

    async def list_resources(self, context: Any, params: Any) -> types.ListResourcesResult:
        """None by name: an index may have thousands of pages; searches link to those that matter."""
        return types.ListResourcesResult(resources=[])

    async def list_templates(self, context: Any, params: Any) -> types.ListResourceTemplatesResult:
        template = types.ResourceTemplate(
            name="page",
            title="A page of a document",
            uri_template=PAGE_URI,
            description="Text and JPEG of the page with this page_id, as search_pages gives it.",
        )
        return types.ListResourceTemplatesResult(resource_templates=[template])

    async def read_resource(
        self, context: Any, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        try:
            return await self._beside(partial(_read, self._index, params.uri))
        except MCPError:
            raise
        except Exception:
            logger.exception("reading %r failed", params.uri)
            raise MCPError(types.INTERNAL_ERROR, FAILED) from None

    async def _beside(self, answer: Callable[[], T]) -> T:
        return await to_thread.run_sync(answer, limiter=self._at_once)


def _called(index: Index, name: str, given: dict[str, Any]) -> types.CallToolResult:
    """What a tool answers; an error is an answer too, for the model to do better."""
    tool = TOOLS[name]
    try:
        answer = tool.run(index, tool.arguments.model_validate(given))
    except ValidationError as error:
        return _failed(complaint(error, tool.arguments))
    except DocragError as error:
        return _failed(f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""))
    except Exception:
        logger.exception("%s failed", name)
        return _failed(f"error: {FAILED}")
    return types.CallToolResult(
        content=answer.content, structured_content=answer.data.model_dump(mode="json")
    )


def _failed(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True)


def _read(index: Index, uri: str) -> types.ReadResourceResult:
    """A page as a resource: its text, and its image while that stands beside the index.

    Raises:
        MCPError: The address is none of a page, or the page is not in the index.
    """
    page_id = uri.removeprefix(PAGE_URI.format(page_id=""))
    try:
        if page_id == uri or not is_page_id(page_id):
            raise NotFound("no such resource", f"pages are {PAGE_URI}")
        page = index.page(page_id)
    except DocragError as error:
        raise MCPError(types.INVALID_PARAMS, str(error)) from error
    contents: list[types.TextResourceContents | types.BlobResourceContents] = [
        types.TextResourceContents(uri=uri, mime_type="text/plain", text=cut(page.text, PAGE_TEXT))
    ]
    try:
        blob = base64.b64encode(jpeg(image_of(page))).decode()
        contents.append(types.BlobResourceContents(uri=uri, mime_type="image/jpeg", blob=blob))
    except DocumentError as error:
        logger.warning("%s", error)
    return types.ReadResourceResult(contents=contents)
