"""Text models of sentence-transformers, for captions and the text of pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from docrag.encode.base import CheckpointCard, EncoderOptions, Family, ModelSpec
from docrag.encode.checkpoints.checkpoint import Checkpoint
from docrag.encode.checkpoints.sentence_modules import LIBRARY, WHY, dimension, load_modules
from docrag.encode.runtime.once import once
from docrag.encode.texts import special_tokens, without_special_tokens
from docrag.encode.vectors.norms import normalised

if TYPE_CHECKING:
    from docrag.encode.runtime.batches import Batches

TEXTS_AT_ONCE = 32


def open_sentences(checkpoint: Checkpoint, options: EncoderOptions) -> SentenceEncoder:
    """An encoder of a text model with a modules.json; weights are loaded when they are needed.

    Raises:
        ModelUnavailable: Nothing states the length of its vectors.
    """
    spec = ModelSpec(
        family=checkpoint.architecture or "SentenceTransformer",
        model=checkpoint.model,
        revision=checkpoint.revision,
        digest=checkpoint.digest,
        library=LIBRARY,
        dim=dimension(checkpoint),
        kind="text",
        needs="words",
        licence="",
        recipe="prompts of the checkpoint",
    )
    return SentenceEncoder(spec, checkpoint, options)


FAMILY = Family(
    library=LIBRARY,
    why=WHY,
    opens=open_sentences,
    reads="a text model with modules.json",
    saved_by=("SentenceTransformer",),
    checkpoints={
        "all-mpnet-base-v2": CheckpointCard(
            "text", "sentence-transformers/all-mpnet-base-v2", "Apache-2.0", 768
        ),
        "multilingual-minilm": CheckpointCard(
            "text", "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2", "Apache-2.0", 384
        ),
        "bge-m3": CheckpointCard("text", "BAAI/bge-m3", "MIT", 1024),
    },
)


class SentenceEncoder:
    """A text encoder around a model that is loaded when it is first needed.

    Args:
        spec: What is known about the model.
        checkpoint: Where it is.
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

        return Batches(self._options.batch_size, str(self._model.device), TEXTS_AT_ONCE)

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dim), rows L2-normalised, with the model's prompt for documents if it has one.

        Raises:
            ModelError: A single text does not fit into memory.
        """
        return self._encode(texts, self._model.encode_document)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dim), rows L2-normalised, with the model's prompt for queries if it has one."""
        return self._encode(texts, self._model.encode_query)

    def _encode(self, texts: Sequence[str], encode: Callable[..., Any]) -> NDArray[np.float32]:
        def forward(batch: Sequence[str]) -> list[NDArray[np.float32]]:
            return list(encode(self._inputs(batch), batch_size=len(batch), show_progress_bar=False))

        rows = self._batches.run(texts, forward)
        return normalised(np.array(rows, np.float32).reshape(len(texts), self.spec.dim))

    def _inputs(self, texts: Sequence[str]) -> list[Any]:
        """The texts, in a form in which a model that also sees images takes none for a file or an image."""
        if list(self._model.modalities) == ["text"]:
            return list(texts)
        special = special_tokens(self._model.processor)
        return [{"text": without_special_tokens(text, special)} for text in texts]
