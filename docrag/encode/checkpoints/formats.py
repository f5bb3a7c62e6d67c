"""Which library reads which checkpoint: the layout of its directory decides, and nothing is guessed.

The same weights give other vectors in another library (prompts, positions of patches), and a library that
reads a layout which is not its own fills the gaps with random weights, so that a wrong pairing is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from docrag.encode.checkpoints.checkpoint import Checkpoint
from docrag.errors import WeightsMismatch

Library = Literal["colpali-engine", "sentence-transformers", "transformers"]
LIBRARIES: tuple[Library, ...] = ("colpali-engine", "sentence-transformers", "transformers")


@dataclass(frozen=True, slots=True)
class Format:
    """A layout of checkpoints, and what reads it."""

    library: Library
    opens: str
    """module:function that makes an encoder of (checkpoint, options)."""
    why: str
    """Why this library, in a few words for people."""


COLPALI_ENGINE = Format(
    "colpali-engine", "docrag.encode.models.colpali:open_colpali", "weights as colpali-engine saves them"
)
MULTI_VECTOR = Format(
    "sentence-transformers",
    "docrag.encode.models.multi_vector:open_multi_vector",
    "transformers' own class or modules.json; needs no torchvision",
)
CLIP = Format("transformers", "docrag.encode.models.clip:open_clip", "CLIPModel of transformers")
SIGLIP = Format("transformers", "docrag.encode.models.siglip:open_siglip", "SiglipModel of transformers")
SENTENCES = Format(
    "sentence-transformers", "docrag.encode.models.sentences:open_sentences", "a text model with modules.json"
)

ARCHITECTURES: dict[str, Format] = {
    **dict.fromkeys(
        (
            "ColPali",
            "ColQwen2",
            "ColQwen2_5",
            "ColQwen3",
            "ColQwen3_5",
            "ColIdefics3",
            "ColModernVBert",
            "ColGemma3",
        ),
        COLPALI_ENGINE,
    ),
    **dict.fromkeys(
        ("ColPaliForRetrieval", "ColQwen2ForRetrieval", "ColModernVBertForRetrieval"), MULTI_VECTOR
    ),
    "CLIPModel": CLIP,
    "SiglipModel": SIGLIP,
    "Siglip2Model": SIGLIP,
}
"""Format by the class that config.json names."""

SAVED_BY: dict[str, Format] = {
    "MultiVectorEncoder": MULTI_VECTOR,
    "ColBERT": MULTI_VECTOR,
    "SentenceTransformer": SENTENCES,
}
"""Format by the class that config_sentence_transformers.json names; others give no such vectors."""
MODEL_TYPES: dict[str, Format] = {"clip": CLIP, "siglip": SIGLIP, "siglip2": SIGLIP}
"""Format by model_type, for config.json that names no class, as that of SigLIP 2 on the hub."""


def recognise(checkpoint: Checkpoint, library: str = "") -> Format:
    """The format of a checkpoint; of those that fit, modules.json comes first since it says everything.

    Args:
        checkpoint: A directory.
        library: The one that the user insists on; empty for the best.

    Raises:
        WeightsMismatch: No library reads it, or not the one asked for; the message names the right one.
    """
    fitting = _fitting(checkpoint)
    if not fitting:
        raise WeightsMismatch(
            f"{checkpoint.model}: no encoder reads {checkpoint.architecture or 'a model of no named class'}",
            f"checkpoints may be {', '.join(ARCHITECTURES)}, "
            f"or have a modules.json of {' or '.join(SAVED_BY)}",
        )
    for one in fitting:
        if library in ("", one.library):
            return one
    right = " or ".join(one.library for one in fitting)
    raise WeightsMismatch(
        f"{checkpoint.model} is a checkpoint of {right} ({fitting[0].why}), not of {library}",
        f"ask for {fitting[0].library}:{checkpoint.model}",
    )


def _fitting(checkpoint: Checkpoint) -> list[Format]:
    modules = [str(module.get("type", "")) for module in checkpoint.json("modules.json") or []]
    by_class = ARCHITECTURES.get(checkpoint.architecture)
    if not checkpoint.architecture:
        by_class = MODEL_TYPES.get((checkpoint.json("config.json") or {}).get("model_type", ""))
    if any(module.endswith("CLIPModel") for module in modules):
        return [CLIP]
    if by_class in (CLIP, SIGLIP):  # sentence-transformers only wraps these
        return [by_class]
    found = [_by_modules(checkpoint, modules)] if modules else []
    if by_class not in found:
        found.append(by_class)
    return [one for one in found if one]


def _by_modules(checkpoint: Checkpoint, modules: list[str]) -> Format | None:
    """By the class that sentence-transformers saved; files older than MultiVectorEncoder name none."""
    told = (checkpoint.json("config_sentence_transformers.json") or {}).get("model_type")
    if not told:
        masked = any("MultiVector" in module for module in modules)
        told = "MultiVectorEncoder" if masked else "SentenceTransformer"
    return SAVED_BY.get(told)
