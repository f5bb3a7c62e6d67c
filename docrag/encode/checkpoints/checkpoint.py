"""A checkpoint on this disk: where it lies, what it is, and the digest that makes its vectors comparable."""

from __future__ import annotations

import glob
import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from docrag.encode.checkpoints.digests import sha256_of
from docrag.errors import ModelUnavailable, UnknownModel

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
WEIGHTS = {".safetensors", ".bin", ".pt", ".pth"}
CONFIGURATION = {".json", ".txt", ".model", ".jinja"}
NOT_NEEDED = ["*.onnx*", "*.h5", "*.msgpack", "*.ot", "*.gguf", "*openvino*", "*.png", "*.jpg", "*.gif"]
NOT_NEEDED += ["checkpoint-*/*"]
"""Files of hub repositories that encoders never read; vidore's hold states of the training as well."""
OLDER = {"model.safetensors": "pytorch_model*.bin*", "adapter_model.safetensors": "adapter_model.bin"}
"""Weights, and the same in an older format, which no library reads where the former lie beside them."""


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
            ModelUnavailable: The file is not JSON, or not the kind of JSON that it should be.
        """
        file = self.path / name
        if not file.is_file():
            return None
        kind = list if file.name == "modules.json" else dict
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelUnavailable(f"{file} is damaged: {error}", "download the checkpoint again") from error
        if not isinstance(content, kind):
            raise ModelUnavailable(f"{file} is damaged: no {kind.__name__}", "download the checkpoint again")
        return content

    @cached_property
    def base(self) -> Checkpoint | None:
        """The checkpoint that a LoRA adapter sits on; None where this is no adapter.

        Raises:
            ModelUnavailable: It names none that is to be had.
        """
        adapter = self.json("adapter_config.json")
        if adapter is None:
            return None
        name = str(adapter.get("base_model_name_or_path") or "")
        try:
            return locate(_pinned(name, adapter.get("revision")))
        except UnknownModel as error:  # often a path on the machine that it was trained on
            raise ModelUnavailable(
                f"{self.model} is an adapter of {name or 'a model that it does not name'}, which is not here",
                f"set base_model_name_or_path in {self.path / 'adapter_config.json'}",
            ) from error

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
        """sha256 over the names and contents of its weights and configuration, and those of its base.

        Files that would not be fetched from the hub do not count: however it came here, it is the same.
        """
        total = hashlib.sha256()
        files = {file.relative_to(self.path).as_posix(): file for file in sorted(self.path.rglob("*"))}
        unread = [*NOT_NEEDED, *older(files)]
        for name, file in files.items():
            if any(fnmatchcase(name, pattern) for pattern in unread):
                continue
            if file.is_file() and file.suffix in WEIGHTS | CONFIGURATION:
                total.update(f"{name} {_sha256(file)}\n".encode())
        if self.base:
            total.update(self.base.digest.encode())
        return total.hexdigest()


def older(names: Collection[str]) -> list[str]:
    """Patterns of weights that a repository has in a newer format too.

    Args:
        names: Of all its files.

    >>> older(["model.safetensors.index.json", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin"])
    ['pytorch_model*.bin*', '2_Dense/pytorch_model*.bin*']
    """
    found = []
    for name in names:
        folder, slash, file = name.rpartition("/")
        pattern = OLDER.get(file.removesuffix(".index.json"))
        if pattern:
            found.append(f"{glob.escape(folder)}{slash}{pattern}")
    return found


def _pinned(name: str, revision: str | None) -> str:
    """A base as an adapter names it, at the revision that it was trained on."""
    return f"{name}@{revision}" if revision and not Path(name).expanduser().is_dir() else name


def locate(name: str) -> Checkpoint:
    """The checkpoint of a name, fetched from the hub where it is not on this disk yet.

    Args:
        name: A directory, or a hub id with or without a revision: organisation/model@revision.

    Raises:
        UnknownModel: It is neither.
        ModelUnavailable: The hub cannot be reached or does not have it.
    """
    directory = Path(name).expanduser()
    if name and directory.is_dir():
        return Checkpoint(directory.resolve(), str(directory.resolve()))
    model, _, revision = name.partition("@")
    if directory.is_file() or not HUB_ID.fullmatch(model):
        raise UnknownModel(
            f"no model {name!r}", "a name that `docrag models` lists, a directory, or organisation/model"
        )
    return _fetch(model, revision)


@cache
def _fetch(model: str, revision: str) -> Checkpoint:
    """Download a snapshot, or find it in the hub's cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        GatedRepoError,
        HFValidationError,
        HTTPError,  # of its HTTP library, which differs from version to version
    )

    try:
        unread = [*NOT_NEEDED, *older(_listed(model, revision))]
        found = Path(snapshot_download(model, revision=revision or None, ignore_patterns=unread))
    except HFValidationError as error:
        raise UnknownModel(f"no model {model!r}: {_first_line(error)}", "a directory that exists") from error
    except GatedRepoError as error:
        raise ModelUnavailable(
            f"{model} is for those who accepted its terms", "accept them on its page, then: hf auth login"
        ) from error
    except (OSError, HTTPError) as error:  # the latter where a proxy or a broken connection is to blame
        raise ModelUnavailable(
            f"{model} is not on this disk and cannot be downloaded: {_first_line(error)}",
            f"where there is a network: hf download {model} --local-dir DIR, then give DIR as the model",
        ) from error
    return Checkpoint(found, model, found.name)


def _listed(model: str, revision: str) -> list[str]:
    """Its files on the hub; none where the hub does not say: the download tells better why."""
    from huggingface_hub import list_repo_files
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        return list_repo_files(model, revision=revision or None)
    except (OSError, HTTPError):
        return []


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _sha256(file: Path) -> str:
    """Of a file's content; the hub's cache names large files by it."""
    blob = file.resolve().name
    if file.is_symlink() and re.fullmatch(r"[0-9a-f]{64}", blob):
        return blob
    return sha256_of(file)
