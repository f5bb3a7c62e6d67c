"""Which family reads a checkpoint: its configuration files decide, and nothing is guessed.

The same weights give different vectors in another library (prompts, positions of patches), and a library that
reads a format that is not its own fills the gaps with random weights. So a wrong pairing is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from docrag.encode.base import Family
from docrag.encode.checkpoints.checkpoint import Checkpoint
from docrag.errors import WeightsMismatch

Claim = Literal["pages", "texts", "checkpoints", "architectures", "model_types", "saved_by"]
"""The fields of Family in which each name belongs to one family only."""


def recognise(checkpoint: Checkpoint, families: Sequence[Family], library: str = "") -> Family:
    """The family that reads a checkpoint; if several do, modules.json decides since it says the most.

    Args:
        checkpoint: A directory.
        families: All families.
        library: The library that the user insists on; empty for the best one.

    Raises:
        WeightsMismatch: No family reads it, or none with that library; the hint names the right one.
    """
    candidates = _candidates(checkpoint, families)
    if not candidates:
        architectures = [name for family in families for name in family.architectures]
        savers = [name for family in families for name in family.saved_by]
        raise WeightsMismatch(
            f"{checkpoint.model}: no encoder reads {checkpoint.architecture or 'a model of no named class'}",
            f"a checkpoint must be one of {', '.join(architectures)}, "
            f"or have a modules.json of {' or '.join(savers)}",
        )
    for family in candidates:
        if library in ("", family.library):
            return family
    best = candidates[0]
    readers = " or ".join(family.library for family in candidates)
    raise WeightsMismatch(
        f"{checkpoint.model} is a checkpoint of {readers} ({best.reads}), not of {library}",
        f"ask for {best.library}:{checkpoint.model}",
    )


def only_family(families: Sequence[Family], field: Claim, name: str) -> Family | None:
    """The one family that declares a name in a field; None if none does.

    Raises:
        ValueError: Several families declare it: a defect of docrag.
    """
    declaring = [family for family in families if name in getattr(family, field)]
    if len(declaring) > 1:
        libraries = " and ".join(family.library for family in declaring)
        raise ValueError(f"{name} is declared under {field} by families of {libraries}; it must be in one")
    return declaring[0] if declaring else None


def _candidates(checkpoint: Checkpoint, families: Sequence[Family]) -> list[Family]:
    """The families that read a checkpoint, the best one first."""
    modules = [str(module.get("type", "")) for module in checkpoint.json("modules.json") or []]
    for family in families:
        if any(module.endswith(tuple(family.modules)) for module in modules):
            return [family]
    by_class = _by_class(checkpoint, families)
    if by_class and by_class.wrapped:
        return [by_class]
    by_modules = _by_modules(checkpoint, families, modules) if modules else None
    return [family for family in dict.fromkeys((by_modules, by_class)) if family]


def _by_class(checkpoint: Checkpoint, families: Sequence[Family]) -> Family | None:
    """By the class that config.json names, or by its model_type if it names none."""
    if checkpoint.architecture:
        return only_family(families, "architectures", checkpoint.architecture)
    config = checkpoint.json("config.json") or {}
    return only_family(families, "model_types", config.get("model_type", ""))


def _by_modules(checkpoint: Checkpoint, families: Sequence[Family], modules: list[str]) -> Family | None:
    """By the class of sentence-transformers that saved it; files older than MultiVectorEncoder name none."""
    config = checkpoint.json("config_sentence_transformers.json") or {}
    saved_by = config.get("model_type")
    if not saved_by:
        is_multi_vector = any("MultiVector" in module for module in modules)
        saved_by = "MultiVectorEncoder" if is_multi_vector else "SentenceTransformer"
    return only_family(families, "saved_by", saved_by)
