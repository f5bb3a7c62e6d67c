"""Repairs a torchvision that cannot be imported beside the installed torch, before anything imports it."""

from __future__ import annotations

import logging
import sys
from functools import cache
from importlib.util import find_spec
from typing import Any

from docrag.errors import ModelUnavailable

_declared: list[Any] = []  # torch forgets the operators when nothing refers to the library

logger = logging.getLogger(__name__)


@cache
def mend_torchvision() -> None:
    """Declare the two operators that a torchvision built for another torch looks for when it is imported.

    Such a torchvision has no compiled part for this torch, and fails with "operator torchvision::nms does not
    exist". docrag never calls these operators; the transforms, which colpali-engine needs, are pure Python.
    Nothing is done if torchvision is absent or works.

    Raises:
        ModelUnavailable: torchvision fails for another reason. transformers imports it wherever it is
            installed, so models that do not need it would fail as well.
    """
    if find_spec("torchvision") is None:
        return
    try:
        _import_or_declare()
    except Exception as error:  # a broken package may raise anything
        raise ModelUnavailable(
            f"torchvision is installed here and cannot be imported: {error}",
            "install the one that belongs to your torch; most models need none: pip uninstall torchvision",
        ) from error


def _import_or_declare() -> None:
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        import torch

        half_imported = [name for name in sys.modules if name.partition(".")[0] == "torchvision"]
        for name in half_imported:
            del sys.modules[name]
        library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(library)
        logger.info("torchvision was built for another torch; declared the operators that it looks for")
        import torchvision  # noqa: F401
