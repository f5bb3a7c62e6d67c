"""docrag for MCP clients: assistants search the pages of an index and look at them."""

try:
    import mcp_types  # noqa: F401  the types of the SDK, a package of their own since version 2
except ModuleNotFoundError as error:
    raise ImportError(
        "mcp_docrag needs the MCP SDK, version 2: pip install 'docrag-qdrant[mcp]'", name=error.name
    ) from error

from mcp_docrag.server import make_server
from mcp_docrag.transport import require_loopback, serve_http, serve_stdio

__all__ = ["make_server", "require_loopback", "serve_http", "serve_stdio"]
