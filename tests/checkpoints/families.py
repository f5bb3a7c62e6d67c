"""Which function saves a tiny random checkpoint of which family; none of them is trained."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

FAMILIES = {
    "colpali": "tests.checkpoints.colpali:save_colpali",
    "colpali-lora": "tests.checkpoints.colpali:save_colpali_lora",
    "colqwen2": "tests.checkpoints.colpali:save_colqwen2",
    "colqwen2.5": "tests.checkpoints.colpali:save_colqwen25",
    "colqwen3": "tests.checkpoints.colpali:save_colqwen3",
    "colqwen3.5": "tests.checkpoints.colpali:save_colqwen35",
    "colidefics3": "tests.checkpoints.colpali:save_colidefics3",
    "colmodernvbert": "tests.checkpoints.colpali:save_colmodernvbert",
    "colgemma3": "tests.checkpoints.colpali:save_colgemma3",
    "colpali-hf": "tests.checkpoints.multi_vector:save_colpali_hf",
    "colqwen2-hf": "tests.checkpoints.multi_vector:save_colqwen2_hf",
    "multi-vector": "tests.checkpoints.multi_vector:save_multi_vector",
    "clip": "tests.checkpoints.clip:save_clip",
    "clip-st": "tests.checkpoints.clip:save_clip_st",
    "clip-legacy": "tests.checkpoints.clip:save_clip_legacy",
    "clip-multilingual": "tests.checkpoints.clip:save_clip_multilingual",
    "siglip": "tests.checkpoints.siglip:save_siglip",
    "siglip2": "tests.checkpoints.siglip:save_siglip2",
    "siglip2-naflex": "tests.checkpoints.siglip:save_siglip2_naflex",
}
"""Name for tests -> module:function(directory), which saves a checkpoint and gives its name."""


def save(family: str, directory: Path) -> str:
    """Save a checkpoint of a family; the name under which docrag finds it."""
    module, _, function = FAMILIES[family].partition(":")
    return str(getattr(import_module(module), function)(directory))


def drop_a_weight(checkpoint: Path, copy: Path, file: str = "") -> Path:
    """A copy of a checkpoint without the first weight matrix of a file, or of its first file."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(checkpoint, copy)
    found = copy / file if file else sorted(copy.rglob("*.safetensors"))[0]
    weights = load_file(found)
    del weights[next(name for name in sorted(weights) if weights[name].ndim == 2)]
    save_file(weights, found, {"format": "pt"})
    return copy


def broken(model: str, copy: Path) -> str:
    """The name of a model, copied without one of its weights; of a pair, without one of the image model's."""
    first, plus, text = model.partition("+")
    return f"{drop_a_weight(Path(first), copy)}{plus}{text}"


def edit_json(file: Path, **changes: Any) -> None:
    """Give a configuration file other values."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def write_json(directory: Path, **files: Any) -> Path:
    """A directory of configuration files, named without their ending."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    return directory
