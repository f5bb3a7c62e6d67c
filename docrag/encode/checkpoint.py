"""A checkpoint on this disk: where it lies, what it is, and the digest that makes its vectors comparable."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from docrag.errors import ModelUnavailable, UnknownModel

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
WEIGHTS = {".safetensors", ".bin", ".pt", ".pth"}
CONFIGURATION = {".json", ".txt", ".model", ".jinja"}
NOT_NEEDED = ["*.onnx*", "*.h5", "*.msgpack", "*.ot", "*.gguf", "*openvino*", "*.png", "*.jpg", "*.gif"]
"""Files of hub repositories that torch never reads."""


@dataclass(frozen=True)
class Checkpoint:
    """A directory of weights and configuration."""

    path: Path
    model: str
    """What it was asked for as: a hub id, else its absolute path."""
    revision: str = ""
    """Commit on the hub; empty for a directory."""

    def json(self, name: str) -> Any:
        """The content of one of its JSON files; None where it has no such file.

        Raises:
            ModelUnavailable: The file is not JSON.
        """
        file = self.path / name
        if not file.is_file():
            return None
        try:
            return json.loads(file.read_text())
        except ValueError as error:
            raise ModelUnavailable(f"{file} is damaged: {error}", "download the checkpoint again") from error

    @cached_property
    def base(self) -> Checkpoint | None:
        """The checkpoint that a LoRA adapter sits on; None where this is no adapter."""
        adapter = self.json("adapter_config.json")
        return locate(adapter["base_model_name_or_path"]) if adapter else None

    @cached_property
    def architecture(self) -> str:
        """Class of the model that config.json names, of the base for an adapter; empty where none does."""
        adapter = self.json("adapter_config.json") or {}
        told = (adapter.get("auto_mapping") or {}).get("base_model_class")
        if told:
            return str(told)
        if self.base:
            return self.base.architecture
        named = (self.json("config.json") or {}).get("architectures") or [""]
        return str(named[0])

    @cached_property
    def digest(self) -> str:
        """sha256 over the names and contents of its weights and configuration, and those of its base."""
        total = hashlib.sha256()
        for file in sorted(self.path.rglob("*")):
            if file.is_file() and file.suffix in WEIGHTS | CONFIGURATION:
                total.update(f"{file.relative_to(self.path).as_posix()} {_sha256(file)}\n".encode())
        if self.base:
            total.update(self.base.digest.encode())
        return total.hexdigest()


def locate(name: str) -> Checkpoint:
    """The checkpoint of a name, fetched from the hub where it is not on this disk yet.

    Args:
        name: A directory, or a hub id with or without a revision: organisation/model@revision.

    Raises:
        UnknownModel: It is neither.
        ModelUnavailable: The hub cannot be reached or does not have it.
    """
    directory = Path(name).expanduser()
    if directory.is_dir():
        return Checkpoint(directory.resolve(), str(directory.resolve()))
    model, _, revision = name.partition("@")
    if not HUB_ID.fullmatch(model):
        raise UnknownModel(
            f"no model {name!r}", "a name that `docrag models` lists, a directory, or organisation/model"
        )
    return _fetch(model, revision)


@cache
def _fetch(model: str, revision: str) -> Checkpoint:
    """Download a snapshot, or find it in the hub's cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        found = Path(snapshot_download(model, revision=revision or None, ignore_patterns=NOT_NEEDED))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelUnavailable(
            f"{model} is not on this disk and cannot be downloaded: {_first_line(error)}",
            f"where there is a network: hf download {model} --local-dir DIR, then give DIR as the model",
        ) from error
    return Checkpoint(found, model, found.name)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _sha256(file: Path) -> str:
    """Of a file's content; the hub's cache names large files by it."""
    blob = file.resolve().name
    if file.is_symlink() and re.fullmatch(r"[0-9a-f]{64}", blob):
        return blob
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
