"""Packages that docrag's core does without: the libraries of the extra `models`."""

from __future__ import annotations

from importlib.util import find_spec

from docrag.errors import ModelUnavailable

INSTALL = "pip install 'docrag-qdrant[models]'"
"""Installs torch, transformers, sentence-transformers and colpali-engine."""


def has_torch() -> bool:
    """Whether torch is installed; it is not imported, which takes a second."""
    return find_spec("torch") is not None


def is_cpu(device: str) -> bool:
    """Whether a device, as --device names it, is the CPU; without torch it is the only one.

    Raises:
        SettingsError: torch knows no such device, or this machine does not have it.
    """
    if not has_torch():
        return device in ("auto", "cpu")
    from docrag.encode.runtime.device import choose_device

    return choose_device(device) == "cpu"


def require_torch(what: str) -> None:
    """Refuse what only torch can do if torch is not installed.

    Args:
        what: The model or the option that needs it.

    Raises:
        ModelUnavailable: torch is not installed.
    """
    if not has_torch():
        raise ModelUnavailable(f"{what} needs torch, which is not installed", INSTALL)
