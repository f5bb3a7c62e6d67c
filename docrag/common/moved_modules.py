"""Modules that users may have imported under an earlier name: the old name still works, with a warning."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

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


class _MovedModules(MetaPathFinder, Loader):
    """Finds a module under its old name and gives the one under its new name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        new_name = MOVED[module.__name__]
        warnings.warn(f"{module.__name__} is now {new_name}", DeprecationWarning, stacklevel=2)
        sys.modules[module.__name__] = importlib.import_module(new_name)


def install() -> None:
    """Let old names be imported. Calling this twice does nothing."""
    if not any(isinstance(finder, _MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(_MovedModules())
