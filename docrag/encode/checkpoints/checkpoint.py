"""A checkpoint on this disk: where it is, what it is, and the digest that makes its vectors comparable."""

from __future__ import annotations

import glob
import hashlib
import json
import logging
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
"""Files of hub repositories that encoders never read; those of vidore also contain training states."""
OLDER = {"model.safetensors": "pytorch_model*.bin*", "adapter_model.safetensors": "adapter_model.bin"}
"""Weight files, and the same weights in an older format, which no library reads if the newer file exists."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A directory of weights and configuration."""

    path: Path
    model: str
    """The hub id by which it was asked for, else its absolute path."""
    revision: str = ""
    """The commit on the hub; empty for a directory."""

    def json(self, name: str) -> Any:
        """The content of one of its JSON files; None if it has no such file.

        Raises:
            ModelUnavailable: The file is not JSON, or has another structure than it should.
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
            raise ModelUnavailable(
                f"{file} is damaged: it is no {kind.__name__}", "download the checkpoint again"
            )
        return content

    @cached_property
    def base(self) -> Checkpoint | None:
        """The checkpoint that a LoRA adapter was trained on; None if this is no adapter.

        Raises:
            ModelUnavailable: The adapter names no base, or one that cannot be found.
        """
        adapter = self.json("adapter_config.json")
        if adapter is None:
            return None
        name = str(adapter.get("base_model_name_or_path") or "")
        try:
            return locate(_pinned(name, adapter.get("revision")))
        except UnknownModel as error:  # often a path on the machine where it was trained
            raise ModelUnavailable(
                f"{self.model} is an adapter of {name or 'a model that it does not name'}, which is not here",
                f"set base_model_name_or_path in {self.path / 'adapter_config.json'}",
            ) from error

    @cached_property
    def architecture(self) -> str:
        """The class that config.json names, for an adapter that of its base; empty if none is named."""
        adapter = self.json("adapter_config.json") or {}
        base_class = (adapter.get("auto_mapping") or {}).get("base_model_class")
        if base_class:
            return str(base_class)
        if self.base:
            return self.base.architecture
        architectures = (self.json("config.json") or {}).get("architectures") or [""]
        return str(architectures[0])

    @cached_property
    def digest(self) -> str:
        """sha256 over the names and contents of its weights and configuration, and those of its base.

        Files that would not be fetched from the hub are left out, so that the digest does not depend on how
        the checkpoint was obtained.
        """
        total = hashlib.sha256()
        files = {file.relative_to(self.path).as_posix(): file for file in sorted(self.path.rglob("*"))}
        ignored = [*NOT_NEEDED, *older(files)]
        for name, file in files.items():
            if any(fnmatchcase(name, pattern) for pattern in ignored):
                continue
            if file.is_file() and file.suffix in WEIGHTS | CONFIGURATION:
                total.update(f"{name} {_sha256(file)}\n".encode())
        if self.base:
            total.update(self.base.digest.encode())
        return total.hexdigest()


def older(names: Collection[str]) -> list[str]:
    """Patterns of the weight files that a repository also has in a newer format.

    Args:
        names: The names of all its files.

    >>> older(["model.safetensors.index.json", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin"])
    ['pytorch_model*.bin*', '2_Dense/pytorch_model*.bin*']
    """
    patterns = []
    for name in names:
        folder, slash, file = name.rpartition("/")
        pattern = OLDER.get(file.removesuffix(".index.json"))
        if pattern:
            patterns.append(f"{glob.escape(folder)}{slash}{pattern}")
    return patterns


def _pinned(name: str, revision: str | None) -> str:
    """The name of an adapter's base, with the revision that the adapter was trained on."""
    return f"{name}@{revision}" if revision and not Path(name).expanduser().is_dir() else name


def locate(name: str) -> Checkpoint:
    """The checkpoint of a name, downloaded from the hub if it is not on this disk yet.

    Args:
        name: A directory, or a hub id with or without a revision: organisation/model@revision.

    Raises:
        UnknownModel: The name is neither.
        ModelUnavailable: The hub cannot be reached, or does not have it.
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
        HTTPError,  # the error of its HTTP library, which differs between versions
    )

    try:
        ignored = [*NOT_NEEDED, *older(_files_on_hub(model, revision))]
        path = Path(snapshot_download(model, revision=revision or None, ignore_patterns=ignored))
    except HFValidationError as error:
        raise UnknownModel(f"no model {model!r}: {_first_line(error)}", "a directory that exists") from error
    except GatedRepoError as error:
        raise ModelUnavailable(
            f"{model} requires that you accept its terms", "accept them on its page, then: hf auth login"
        ) from error
    except (OSError, HTTPError) as error:  # HTTPError: a proxy or a broken connection
        raise ModelUnavailable(
            f"{model} is not on this disk and cannot be downloaded: {_first_line(error)}",
            f"on a machine with a network: hf download {model} --local-dir DIR, then give DIR as the model",
        ) from error
    logger.debug("%s: snapshot %s", model, path)
    return Checkpoint(path, model, path.name)


def _files_on_hub(model: str, revision: str) -> list[str]:
    """Its files on the hub; none if the hub cannot list them: the download then explains better why."""
    from huggingface_hub import list_repo_files
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        return list_repo_files(model, revision=revision or None)
    except (OSError, HTTPError):
        return []


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _sha256(file: Path) -> str:
    """The sha256 of a file's content; in the hub's cache it is the name of a large file."""
    blob = file.resolve().name
    if file.is_symlink() and re.fullmatch(r"[0-9a-f]{64}", blob):
        return blob
    return sha256_of(file)
