"""Packages that docrag's core does without: the libraries of the extra `models`."""

from __future__ import annotations

from importlib.util import find_spec

from docrag.errors import ModelUnavailable

INSTALL = "pip install 'docrag-qdrant[models]'"
"""Installs torch, transformers, sentence-transformers and colpali-engine."""


def has_torch() -> bool:
    """Whether torch is installed; it is not imported, which takes a second."""
    return find_spec("torch") is not None


def require_torch(what: str) -> None:
    """Refuse what only torch can do if torch is not installed.

    Args:
        what: The model or the option that needs it.

    Raises:
        ModelUnavailable: torch is not installed.
    """
    if not has_torch():
        raise ModelUnavailable(f"{what} needs torch, which is not installed", INSTALL)
