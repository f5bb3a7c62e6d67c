"""Text models of sentence-transformers, for captions and the text of pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from docrag.encode.base import ModelSpec
from docrag.encode.checkpoints.checkpoint import Checkpoint
from docrag.encode.checkpoints.sentence_modules import dimension, load_modules
from docrag.encode.options import EncoderOptions
from docrag.encode.runtime.once import once
from docrag.encode.texts import plain, special_tokens
from docrag.encode.vectors.norms import normalised

if TYPE_CHECKING:
    from docrag.encode.runtime.batches import Batches

AT_ONCE = 32


def open_sentences(checkpoint: Checkpoint, options: EncoderOptions) -> SentenceEncoder:
    """An encoder of a text model with modules.json; weights are loaded when needed.

    Raises:
        ModelUnavailable: Nothing says how long its vectors are.
    """
    spec = ModelSpec(
        family=checkpoint.architecture or "SentenceTransformer",
        model=checkpoint.model,
        revision=checkpoint.revision,
        digest=checkpoint.digest,
        library="sentence-transformers",
        dim=dimension(checkpoint),
        kind="text",
        needs="words",
        licence="",
        recipe="prompts of the checkpoint",
    )
    return SentenceEncoder(spec, checkpoint, options)


class SentenceEncoder:
    """A text encoder around a model that is loaded when it is first needed.

    Args:
        spec: What the model is.
        checkpoint: Where it lies.
        options: How it is run.
    """

    def __init__(self, spec: ModelSpec, checkpoint: Checkpoint, options: EncoderOptions) -> None:
        self.spec = spec
        self._checkpoint = checkpoint
        self._options = options

    @once
    def _model(self) -> Any:
        return load_modules("SentenceTransformer", self._checkpoint, self._options)

    @once
    def _batches(self) -> Batches:
        from docrag.encode.runtime.batches import Batches

        return Batches(self._options.batch_size, str(self._model.device), AT_ONCE)

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dim), rows L2-normalised, with the prompt for documents where the model has one.

        Raises:
            ModelError: A single text does not fit into memory.
        """
        return self._encode(texts, self._model.encode_document)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dim), rows L2-normalised, with the prompt for queries where the model has one."""
        return self._encode(texts, self._model.encode_query)

    def _encode(self, texts: Sequence[str], encode: Callable[..., Any]) -> NDArray[np.float32]:
        def forward(batch: Sequence[str]) -> list[NDArray[np.float32]]:
            return list(encode(self._as_texts(batch), batch_size=len(batch), show_progress_bar=False))

        rows = self._batches.run(texts, forward)
        return normalised(np.array(rows, np.float32).reshape(len(texts), self.spec.dim))

    def _as_texts(self, texts: Sequence[str]) -> list[Any]:
        """As they are for a model of texts; one that sees images would open files, and look for images."""
        if list(self._model.modalities) == ["text"]:
            return list(texts)
        special = special_tokens(self._model.processor)
        return [{"text": plain(text, special)} for text in texts]
