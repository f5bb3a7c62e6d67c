"""docrag for LlamaIndex: a retriever that returns pages as nodes with their images."""

try:
    import llama_index.core  # noqa: F401
except ModuleNotFoundError as error:
    if error.name not in ("llama_index", "llama_index.core"):
        raise
    raise ModuleNotFoundError(
        "LlamaIndex is not installed: pip install 'docrag-qdrant[llama-index]'", name=error.name
    ) from error

from llama_index_docrag.retriever import DocragRetriever

__all__ = ["DocragRetriever"]
