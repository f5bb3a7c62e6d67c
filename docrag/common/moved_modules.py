"""Modules that users may have imported under an earlier name: the old name still works, with a warning."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from types import ModuleType
from typing import Any

MOVED = {
    "docrag.encode.options": "docrag.encode.base",
    "docrag.estimate": "docrag.operations.estimate",
    "docrag.folder": "docrag.operations.follow",
    "docrag.labelling": "docrag.operations.label",
    "docrag.migrating": "docrag.operations.migrate",
    "docrag.moving": "docrag.operations.transfer",
    "docrag.search.conditions": "docrag.search.filters",
    "docrag.search.marked": "docrag.search.crops",
    "docrag.search.tune": "docrag.tuning.tune",
    "docrag.status": "docrag.index.status",
}
"""New names by old ones, for modules with functions and classes that users call."""


class _MovedModule(ModuleType):
    """Stands under an old name and passes every access on to the module under its new name."""

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # tools that look at every loaded module ask for these
            raise AttributeError(attribute)
        new_name = MOVED[self.__name__]
        warnings.warn(f"{self.__name__} is now {new_name}", DeprecationWarning, stacklevel=2)
        return getattr(import_module(new_name), attribute)


def install() -> None:
    """Let old names be imported. The modules behind them are loaded when something of them is used."""
    for old_name in MOVED:
        sys.modules.setdefault(old_name, _MovedModule(old_name))
