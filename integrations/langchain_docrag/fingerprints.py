"""Which embeddings a place was filled with."""

from __future__ import annotations

from typing import Any

from langchain_core.embeddings import Embeddings

from docrag.encode.registry import name_of
from docrag.errors import IndexMismatch, ModelUnavailable, UnknownModel
from docrag.store.layout import Fingerprint, require_equal
from langchain_docrag.embeddings import DocragEmbeddings

_FOREIGN = "langchain"
"""The library that a fingerprint names for embeddings that are not docrag's."""


def told_of(embedding: Embeddings) -> dict[str, Any]:
    """What tells embeddings from others; a cache around them makes no difference."""
    inner = getattr(embedding, "underlying_embeddings", embedding)
    if isinstance(inner, DocragEmbeddings):
        return dict(inner.spec.fingerprint())
    named = (getattr(inner, name, None) for name in ("model", "model_name", "model_id"))
    model = next((name for name in named if isinstance(name, str)), "")
    return {"library": _FOREIGN, "family": type(inner).__name__, "model": model}


def embeddings_of(told: Fingerprint) -> Embeddings:
    """The embeddings of a fingerprint, opened again.

    Raises:
        IndexMismatch: They are not docrag's.
        ModelUnavailable: They are not where they were.
    """
    text = told.values["text"]
    if text["library"] == _FOREIGN:
        name = f"{text['family']} {text['model']}".strip()
        raise IndexMismatch(f"the texts were embedded by {name}", "give it as embedding")
    name = name_of(text)
    try:
        return DocragEmbeddings(name)
    except (UnknownModel, ModelUnavailable) as error:
        hint = f"{error.hint}; if the weights lie elsewhere now: embedding=DocragEmbeddings(PATH)"
        raise ModelUnavailable(f"the texts were embedded by {name}: {error.message}", hint) from error


def require_same(told: Fingerprint, embedding: Embeddings | None) -> None:
    """Refuse embeddings of which a place was not made."""
    if embedding is not None:
        asked = {"dim": told.values["text"]["dim"], **told_of(embedding)}
        require_equal(told, Fingerprint({**told.values, "text": asked}))
