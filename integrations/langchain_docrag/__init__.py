"""docrag for LangChain: a page retriever, messages with pages, an agent tool and a vector store."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_docrag.embeddings import DocragEmbeddings
    from langchain_docrag.messages import show_pages, to_messages
    from langchain_docrag.retriever import DocragRetriever
    from langchain_docrag.tool import docrag_tool
    from langchain_docrag.vectorstore import DocragVectorStore

if find_spec("langchain_core") is None:
    raise ImportError("langchain_docrag needs LangChain: pip install 'langchain-core>=1,<2'")

_MODULE_OF = {
    "DocragEmbeddings": "embeddings",
    "DocragRetriever": "retriever",
    "DocragVectorStore": "vectorstore",
    "docrag_tool": "tool",
    "show_pages": "messages",
    "to_messages": "messages",
}

__all__ = [
    "DocragEmbeddings",
    "DocragRetriever",
    "DocragVectorStore",
    "docrag_tool",
    "show_pages",
    "to_messages",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'langchain_docrag' has no attribute {name!r}")
    return getattr(import_module(f"langchain_docrag.{_MODULE_OF[name]}"), name)
