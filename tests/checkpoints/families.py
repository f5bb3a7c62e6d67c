"""Functions that save a tiny random checkpoint of each architecture; none of them is trained.

A new architecture needs an entry here: the test of the contract fails without one.
"""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple


class Builder(NamedTuple):
    """What saves a tiny checkpoint."""

    function: str
    """module:function(directory), which saves a checkpoint and returns the name that finds it."""
    family: str
    """The family in docrag's registry that reads it."""
    architecture: str = ""
    """The class that its config.json names; empty if it names none that docrag recognises it by."""


PAGE_BUILDERS = {
    "colpali": Builder("tests.checkpoints.colpali:save_colpali", "colpali", "ColPali"),
    "colpali-lora": Builder("tests.checkpoints.colpali:save_colpali_lora", "colpali", "ColPali"),
    "colqwen2": Builder("tests.checkpoints.colpali:save_colqwen2", "colpali", "ColQwen2"),
    "colqwen2.5": Builder("tests.checkpoints.colpali:save_colqwen25", "colpali", "ColQwen2_5"),
    "colqwen3": Builder("tests.checkpoints.colpali:save_colqwen3", "colpali", "ColQwen3"),
    "colqwen3.5": Builder("tests.checkpoints.colpali:save_colqwen35", "colpali", "ColQwen3_5"),
    "colidefics3": Builder("tests.checkpoints.colpali:save_colidefics3", "colpali", "ColIdefics3"),
    "colmodernvbert": Builder("tests.checkpoints.colpali:save_colmodernvbert", "colpali", "ColModernVBert"),
    "colgemma3": Builder("tests.checkpoints.colpali:save_colgemma3", "colpali", "ColGemma3"),
    "colpali-hf": Builder(
        "tests.checkpoints.multi_vector:save_colpali_hf", "multi-vector", "ColPaliForRetrieval"
    ),
    "colqwen2-hf": Builder(
        "tests.checkpoints.multi_vector:save_colqwen2_hf", "multi-vector", "ColQwen2ForRetrieval"
    ),
    "multi-vector": Builder("tests.checkpoints.multi_vector:save_multi_vector", "multi-vector"),
    "clip": Builder("tests.checkpoints.clip:save_clip", "clip", "CLIPModel"),
    "clip-st": Builder("tests.checkpoints.clip:save_clip_st", "clip", "CLIPModel"),
    "clip-legacy": Builder("tests.checkpoints.clip:save_clip_legacy", "clip"),
    "clip-multilingual": Builder("tests.checkpoints.clip:save_clip_multilingual", "clip"),
    "siglip": Builder("tests.checkpoints.siglip:save_siglip", "siglip", "SiglipModel"),
    "siglip2": Builder("tests.checkpoints.siglip:save_siglip2", "siglip"),
    "siglip2-naflex": Builder("tests.checkpoints.siglip:save_siglip2_naflex", "siglip", "Siglip2Model"),
}
"""Checkpoints of page encoders, by a name for tests; every one is held to the contract of an encoder."""

TEXT_BUILDERS = {"sentences": Builder("tests.checkpoints.sentences:save_sentences", "sentences")}
"""Checkpoints of text encoders."""

REFUSED_BUILDERS = {
    "colmodernvbert-hf": Builder(
        "tests.checkpoints.multi_vector:save_colmodernvbert_hf", "multi-vector", "ColModernVBertForRetrieval"
    )
}
"""Checkpoints that docrag recognises in order to refuse them."""

BUILDERS = {**PAGE_BUILDERS, **TEXT_BUILDERS, **REFUSED_BUILDERS}


def save(name: str, directory: Path) -> str:
    """Save a checkpoint; the name under which docrag finds it."""
    module, _, function = BUILDERS[name].function.partition(":")
    return str(getattr(import_module(module), function)(directory))


def drop_a_weight(checkpoint: Path, copy: Path, file: str = "") -> Path:
    """A copy of a checkpoint without the first weight matrix of a file, or of its first file."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(checkpoint, copy)
    weights_file = copy / file if file else sorted(copy.rglob("*.safetensors"))[0]
    weights = load_file(weights_file)
    del weights[next(name for name in sorted(weights) if weights[name].ndim == 2)]
    save_file(weights, weights_file, {"format": "pt"})
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
