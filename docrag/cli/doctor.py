"""docrag doctor: whether everything that docrag needs works on this machine."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer

from docrag.cli.console import IndexOption, JsonOption, print_json, results
from docrag.errors import DocragError, IndexNotFound


def doctor(index: IndexOption = None, as_json: JsonOption = False) -> None:
    """Check torch, models, store and disk; exit code 1 when something does not work."""
    from docrag.settings import load_settings

    where = Path(load_settings(index=index).index)
    checks: dict[str, Callable[[], str]] = {
        "docrag": lambda: (
            f"{version('docrag-qdrant')}, Python {platform.python_version()}, {platform.platform()}"
        ),
        "torch": check_torch,
        "minilm": check_minilm,
        "colpali": check_colpali,
        "ocr": lambda: f"rapidocr {version('rapidocr')}, onnxruntime {version('onnxruntime')}",
        "pdf": lambda: f"PyMuPDF {version('pymupdf')}",
        "store": lambda: check_store(where),
        "disk": lambda: check_disk(where),
    }
    answers = {name: run(check) for name, check in checks.items()}
    if as_json:
        print_json({name: {"ok": ok, "detail": detail} for name, (ok, detail) in answers.items()})
    else:
        for name, (ok, detail) in answers.items():
            results.print(f"{'ok  ' if ok else 'FAIL'} {name:<7} {detail}", soft_wrap=True)
    if not all(ok for ok, _ in answers.values()):
        raise typer.Exit(1)


def run(check: Callable[[], str]) -> tuple[bool, str]:
    """Whether a check passes, and what it says."""
    try:
        return True, check()
    except (DocragError, ImportError, OSError) as error:
        return False, str(error)


def check_torch() -> str:
    """Version, device, precision and threads."""
    import torch

    from docrag.encode.runtime.device import best_device, best_dtype

    device = best_device()
    dtype = str(best_dtype(device)).removeprefix("torch.")
    return f"{torch.__version__} on {device} in {dtype}, {torch.get_num_threads()} threads"


def check_minilm() -> str:
    """The weights have the digest that docrag was made for, and encode."""
    from docrag.encode.models.minilm import MiniLMText

    encoder = MiniLMText()
    encoder.encode_queries(["is it there?"])
    return f"weights sha256 {encoder.spec.digest[:12]}..., {encoder.spec.dim} dimensions"


def check_colpali() -> str:
    """The library that reads most late-interaction models; nothing else needs it."""
    try:
        return f"colpali-engine {version('colpali-engine')}"
    except PackageNotFoundError:
        return "no colpali-engine; for ColPali and its kin: pip install 'docrag-qdrant[colpali]'"


def check_store(where: Path) -> str:
    """What stands at the index's place."""
    from docrag.index.index import Index
    from docrag.settings import load_settings

    engine = f"qdrant-edge {version('qdrant-edge-py')}"
    try:
        with Index.open(settings=load_settings(index=str(where)), create=False) as opened:
            held = opened.status()
    except IndexNotFound:
        return f"{engine}, no index at {where} yet"
    return f"{engine}, {held.pages} pages of {held.documents} documents at {where}"


def check_disk(where: Path) -> str:
    """Room and permission where the index is or will be."""
    parent = next(folder for folder in (where.absolute(), *where.absolute().parents) if folder.exists())
    if not os.access(parent, os.W_OK):
        raise PermissionError(f"{parent} is not writable")
    return f"{shutil.disk_usage(parent).free / 2**30:.1f} GiB free at {parent}"
