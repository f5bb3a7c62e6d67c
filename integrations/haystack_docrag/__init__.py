"""docrag for Haystack: a component that returns pages as documents, ready for DocumentToImageContent."""

try:
    import haystack  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "haystack":
        raise
    raise ModuleNotFoundError(
        "Haystack is not installed: pip install 'docrag-qdrant[haystack]'", name=error.name
    ) from error

from haystack_docrag.retriever import DocragRetriever

__all__ = ["DocragRetriever"]
