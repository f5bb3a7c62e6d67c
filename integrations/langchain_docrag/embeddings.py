"""LangChain's embeddings by docrag's own models: encoders of texts, and CLIP-like ones that also see."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor

from docrag.encode.base import MixedEncoder, TextEncoder
from docrag.encode.registry import page_encoder, text_encoder
from docrag.errors import QueryError, UnknownModel
from docrag.search.query import open_image

if TYPE_CHECKING:
    from PIL.Image import Image

    from docrag.encode.options import EncoderOptions

_IMAGES_AT_ONCE = 32


class DocragEmbeddings(Embeddings):
    """One vector for each text; with a CLIP-like model also for each image, in the same space.

    A model of texts may put passages and queries differently, as it was trained; a CLIP-like one does not
    tell them apart. Every vector is of length 1, so that the dot product is the cosine.

    Args:
        model: A text model (minilm needs no download) or a CLIP-like one, by any name that docrag knows, as
            `docrag models` lists them; or an encoder that is open already.
        options: How it is run.

    Raises:
        UnknownModel: No model goes by that name, or it gives many vectors for a text.
        ModelUnavailable: Its package or its checkpoint is not there.

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
        self._encoder = _open(model, options) if isinstance(model, str) else model
        self.spec = self._encoder.spec
        """What the model is."""
        self.model = model if isinstance(model, str) else self.spec.model

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text, in order.

        Raises:
            ModelError: A single text does not fit into memory.
        """
        return self._embed(texts, query=False)

    def embed_query(self, text: str) -> list[float]:
        """The vector of a question."""
        return self._embed([text], query=True)[0]

    def embed_image(self, uris: Sequence[str | os.PathLike[str] | Image]) -> list[list[float]]:
        """A vector for each image, to be compared with those of texts; stores call this method by its name.

        Args:
            uris: Paths of image files, or images that are open already.

        Raises:
            QueryError: The model sees no images, or one of them is not there or cannot be read.
        """
        encoder = self._encoder
        if not isinstance(encoder, MixedEncoder):
            hint = "take one that also sees, such as DocragEmbeddings('clip-vit-b-32')"
            raise QueryError(f"{self.model} reads texts alone", hint)
        found: list[list[float]] = []
        for start in range(0, len(uris), _IMAGES_AT_ONCE):
            some = uris[start : start + _IMAGES_AT_ONCE]
            found += encoder.encode([_opened(image) for image in some]).tolist()
        return found

    async def aembed_image(self, uris: Sequence[str | os.PathLike[str] | Image]) -> list[list[float]]:
        """The same as embed_image, in a thread, as the other two have it from LangChain."""
        return await run_in_executor(None, self.embed_image, uris)

    def _embed(self, texts: Sequence[str], *, query: bool) -> list[list[float]]:
        # Tokenizers refuse halves of letters, which broken files hold.
        whole = [text.encode(errors="replace").decode() for text in texts]
        if not whole:
            return []
        encoder = self._encoder
        if isinstance(encoder, MixedEncoder):
            rows = encoder.encode(whole)
        else:
            rows = encoder.encode_queries(whole) if query else encoder.encode_passages(whole)
        found: list[list[float]] = rows.tolist()
        return found

    def __repr__(self) -> str:
        return f"DocragEmbeddings({self.model!r})"


def _open(name: str, options: EncoderOptions | None) -> TextEncoder | MixedEncoder:
    """The text encoder of a name, else the CLIP-like encoder."""
    try:
        return text_encoder(name, options)
    except UnknownModel:
        encoder = page_encoder(name, options)
    if not isinstance(encoder, MixedEncoder):
        raise UnknownModel(
            f"{name} gives a vector for every patch or word, where embeddings have one for a text",
            "take a text model or a CLIP-like one here; DocragRetriever searches with late interaction",
        )
    return encoder


def _opened(image: str | os.PathLike[str] | Image) -> Image:
    return open_image(image) if isinstance(image, str | os.PathLike) else image
