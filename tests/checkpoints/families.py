"""Which function saves a tiny random checkpoint of which family; none of them is trained."""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path

FAMILIES = {
    "colqwen2": "tests.checkpoints.colpali:save_colqwen2",
    "colpali-hf": "tests.checkpoints.multi_vector:save_colpali_hf",
    "colqwen2-hf": "tests.checkpoints.multi_vector:save_colqwen2_hf",
    "multi-vector": "tests.checkpoints.multi_vector:save_multi_vector",
}
"""Name for tests -> module:function(directory), which saves a checkpoint and gives its name."""


def save(family: str, directory: Path) -> str:
    """Save a checkpoint of a family; the name under which docrag finds it."""
    module, _, function = FAMILIES[family].partition(":")
    return str(getattr(import_module(module), function)(directory))


def drop_a_weight(checkpoint: Path, copy: Path) -> Path:
    """A copy of a checkpoint without the first of its weight matrices."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(checkpoint, copy)
    file = sorted(copy.rglob("*.safetensors"))[0]
    weights = load_file(file)
    del weights[next(name for name in sorted(weights) if weights[name].ndim == 2)]
    save_file(weights, file, {"format": "pt"})
    return copy
