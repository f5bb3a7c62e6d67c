"""DocragEmbeddings: docrag's text encoders and CLIP-like encoders as LangChain embeddings."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor

from docrag.encode.base import MixedEncoder, TextEncoder
from docrag.encode.registry import name_of, page_encoder, text_encoder
from docrag.errors import IndexMismatch, ModelUnavailable, QueryError, UnknownModel
from docrag.search.query import open_image
from docrag.store.layout import Fingerprint, require_equal

if TYPE_CHECKING:
    from PIL.Image import Image

    from docrag.encode.base import EncoderOptions

logger = logging.getLogger(__name__)

_IMAGES_IN_MEMORY = 32
"""How many images are open at the same time."""
_FOREIGN = "langchain"
"""The library that a fingerprint names if the embeddings are not docrag's."""


class DocragEmbeddings(Embeddings):
    """One vector for each text and, with a CLIP-like model, for each image in the same space.

    A text model may embed passages and queries differently, as it was trained to do; a CLIP-like model
    embeds them alike. Every vector has length 1, so that the dot product is the cosine.

    Args:
        model: The name of a text model (minilm needs no download) or of a CLIP-like one, as `docrag models`
            lists them; or an encoder that is open already.
        options: How the model is run.

    Raises:
        UnknownModel: There is no model of that name, or it makes many vectors for one text.
        ModelUnavailable: Its package or its checkpoint is not installed.

    >>> from langchain_docrag import DocragEmbeddings
    >>> len(DocragEmbeddings().embed_query("When does the ferry leave?"))
    384
    """

    def __init__(
        self,
        model: str | TextEncoder | MixedEncoder = "minilm",
        *,
        options: EncoderOptions | None = None,
    ) -> None:
        self._encoder = _open_encoder(model, options) if isinstance(model, str) else model
        self.spec = self._encoder.spec
        """The specification of the model."""
        self.model = model if isinstance(model, str) else self.spec.model

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed passages, in order.

        Raises:
            ModelError: A single text does not fit into memory.
        """
        return self._embed(texts, query=False)

    def embed_query(self, text: str) -> list[float]:
        """Embed a question."""
        return self._embed([text], query=True)[0]

    def embed_image(self, uris: Sequence[str | os.PathLike[str] | Image]) -> list[list[float]]:
        """Embed images, to be compared with texts; LangChain's vector stores call this method by its name.

        Args:
            uris: Paths of image files, or images that are open already.

        Raises:
            QueryError: The model does not take images, or an image is missing or cannot be read.
        """
        encoder = self._encoder
        if not isinstance(encoder, MixedEncoder):
            hint = "take a model that also takes images, such as DocragEmbeddings('clip-vit-b-32')"
            raise QueryError(f"{self.model} takes texts only", hint)
        vectors: list[list[float]] = []
        for start in range(0, len(uris), _IMAGES_IN_MEMORY):
            batch = uris[start : start + _IMAGES_IN_MEMORY]
            vectors += encoder.encode([_as_image(image) for image in batch]).tolist()
        return vectors

    async def aembed_image(self, uris: Sequence[str | os.PathLike[str] | Image]) -> list[list[float]]:
        """Run embed_image in a thread, as LangChain does for the other two methods."""
        return await run_in_executor(None, self.embed_image, uris)

    def _embed(self, texts: Sequence[str], *, query: bool) -> list[list[float]]:
        # Tokenizers refuse lone surrogates, which the text of broken files contains.
        valid = [text.encode(errors="replace").decode() for text in texts]
        if not valid:
            return []
        encoder = self._encoder
        if isinstance(encoder, MixedEncoder):
            rows = encoder.encode(valid)
        elif query:
            rows = encoder.encode_queries(valid)
        else:
            rows = encoder.encode_passages(valid)
        vectors: list[list[float]] = rows.tolist()
        return vectors

    def __repr__(self) -> str:
        return f"DocragEmbeddings({self.model!r})"


def describe_embeddings(embeddings: Embeddings) -> dict[str, Any]:
    """What a fingerprint stores about embeddings; a cache around them makes no difference."""
    inner = getattr(embeddings, "underlying_embeddings", embeddings)
    if isinstance(inner, DocragEmbeddings):
        return dict(inner.spec.fingerprint())
    model = ""
    for attribute in ("model", "model_name", "model_id"):
        value = getattr(inner, attribute, None)
        if isinstance(value, str):
            model = value
            break
    return {"library": _FOREIGN, "family": type(inner).__name__, "model": model}


def open_embeddings(fingerprint: Fingerprint) -> Embeddings:
    """Open the embeddings that a fingerprint describes.

    Raises:
        IndexMismatch: They are not docrag's, so that only the user can open them.
        ModelUnavailable: The model is no longer where it was.
    """
    description = fingerprint.values["text"]
    if description["library"] == _FOREIGN:
        name = f"{description['family']} {description['model']}".strip()
        raise IndexMismatch(f"the texts were embedded by {name}", "pass it as embedding=")
    name = name_of(description)
    try:
        embeddings = DocragEmbeddings(name)
    except (UnknownModel, ModelUnavailable) as error:
        hint = f"{error.hint}; if the weights are at another path now: embedding=DocragEmbeddings(PATH)"
        raise ModelUnavailable(f"the texts were embedded by {name}: {error.message}", hint) from error
    logger.debug("the vector store was filled with %s, which is used again", name)
    return embeddings


def require_same_embeddings(fingerprint: Fingerprint, embeddings: Embeddings | None) -> None:
    """Refuse embeddings other than those of a fingerprint; None stands for the right ones.

    Raises:
        IndexMismatch: They are others.
    """
    if embeddings is not None:
        description = {"dim": fingerprint.values["text"]["dim"], **describe_embeddings(embeddings)}
        require_equal(fingerprint, Fingerprint({**fingerprint.values, "text": description}))


def _open_encoder(name: str, options: EncoderOptions | None) -> TextEncoder | MixedEncoder:
    """The text encoder of that name, or else the CLIP-like encoder."""
    try:
        return text_encoder(name, options)
    except UnknownModel:
        encoder = page_encoder(name, options)
    if not isinstance(encoder, MixedEncoder):
        raise UnknownModel(
            f"{name} makes a vector for every patch or word, but embeddings have one vector for a text",
            "take a text model or a CLIP-like one here; DocragRetriever searches with late interaction",
        )
    return encoder


def _as_image(image: str | os.PathLike[str] | Image) -> Image:
    return open_image(image) if isinstance(image, str | os.PathLike) else image
