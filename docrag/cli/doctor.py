"""docrag doctor: whether everything that docrag needs works on this machine."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import typer

from docrag.cli.console import print_json, read_settings, results
from docrag.cli.options import IndexOption, JsonOption
from docrag.errors import DocragError, IndexNotFound

if TYPE_CHECKING:
    from docrag.settings import Settings


def doctor(index: IndexOption = None, as_json: JsonOption = False) -> None:
    """Check models, index and disk; the exit code is 1 when something does not work."""
    settings = read_settings(index=index)
    checks: dict[str, Callable[[], str]] = {
        "docrag": check_docrag,
        "torch": check_torch,
        "minilm": check_minilm,
        "colpali": check_colpali,
        "ocr": lambda: f"rapidocr {version('rapidocr')}, onnxruntime {version('onnxruntime')}",
        "pdf": lambda: f"PyMuPDF {version('pymupdf')}",
        "store": lambda: check_store(settings),
        "disk": lambda: check_disk(settings),
    }
    outcomes = {name: run(check) for name, check in checks.items()}
    if as_json:
        print_json({name: {"ok": ok, "detail": detail} for name, (ok, detail) in outcomes.items()})
    else:
        for name, (ok, detail) in outcomes.items():
            results.print(f"{'ok  ' if ok else 'FAIL'} {name:<7} {detail}", soft_wrap=True)
    if not all(ok for ok, _ in outcomes.values()):
        raise typer.Exit(1)


def run(check: Callable[[], str]) -> tuple[bool, str]:
    """Whether a check passes, and its details or its error."""
    try:
        return True, check()
    except (DocragError, ImportError, OSError) as error:
        return False, str(error)


def check_docrag() -> str:
    """Versions of docrag and Python, and the platform."""
    return f"{version('docrag-qdrant')}, Python {platform.python_version()}, {platform.platform()}"


def check_torch() -> str:
    """Version, device, precision and threads; the default models need no torch."""
    from docrag.encode.runtime.extras import INSTALL, has_torch

    if not has_torch():
        return f"not installed, and minilm needs none; for a GPU and for models that see: {INSTALL}"
    import torch

    from docrag.encode.runtime.device import best_device, best_dtype

    device = best_device()
    dtype = str(best_dtype(device)).removeprefix("torch.")
    return f"{torch.__version__} on {device} in {dtype}, {torch.get_num_threads()} threads"


def check_minilm() -> str:
    """The built-in weights have the expected digest, and encode a text."""
    from docrag.encode.models.minilm import MiniLMText

    encoder = MiniLMText()
    encoder.encode_queries(["is it there?"])
    return f"weights sha256 {encoder.spec.digest[:12]}..., {encoder.spec.dim} dimensions"


def check_colpali() -> str:
    """The library that runs most models for page images; nothing else needs it."""
    from docrag.encode.runtime.extras import INSTALL

    try:
        return f"colpali-engine {version('colpali-engine')}"
    except PackageNotFoundError:
        return f"no colpali-engine; for ColPali and similar models: {INSTALL}"


def check_store(settings: Settings) -> str:
    """The index that the settings name, if it exists."""
    from docrag.index.index import Index

    engine = f"qdrant-edge {version('qdrant-edge-py')}"
    try:
        with Index.open(settings=settings, create=False) as opened:
            status = opened.status()
    except IndexNotFound:
        return f"{engine}, no index at {settings.index} yet"
    notes = status.health.notes() if status.health else []
    held = f"{status.pages} pages of {status.documents} documents at {settings.index}"
    return "; ".join([f"{engine}, {held}", *notes])


def check_disk(settings: Settings) -> str:
    """Free space and write permission where the files of the index are or will be."""
    from docrag.location.resolve import existing_folder

    folder = existing_folder(settings).absolute()
    parent = next(each for each in (folder, *folder.parents) if each.exists())
    if not os.access(parent, os.W_OK):
        raise PermissionError(f"{parent} is not writable")
    return f"{shutil.disk_usage(parent).free / 2**30:.1f} GiB free at {parent}"
