"""The stores that this process holds itself: all its handles of one directory share one store."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from docrag.errors import IndexMismatch, StoreError
from docrag.store.base import Store
from docrag.store.layout import Layout
from docrag.store.local.store import EdgeStore

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _OpenStore:
    """A store with the number of its handles, which keep it alive: without them, it is collected."""

    store: EdgeStore
    folder: tuple[int, int]
    """Device and inode of its folder: another folder may take the place of a removed one."""
    handles: int = 0


_lock = threading.Lock()
_open_stores: weakref.WeakValueDictionary[Path, _OpenStore] = weakref.WeakValueDictionary()
_kept: list[_OpenStore] = []
"""Stores whose folder was removed, or which belong to the parent of this process. They are kept for ever,
because to collect them would be to close them."""


class StoreHandle:
    """One of several handles of a store; the store is closed with the last of them."""

    def __init__(self, opened: _OpenStore) -> None:
        self._opened: _OpenStore | None = opened
        self._path = opened.store.path

    def __getattr__(self, name: str) -> Any:
        if self._opened is None:
            raise StoreError(f"the index {self._path} is closed")
        return getattr(self._opened.store, name)

    def close(self) -> None:
        """Give up this handle; closing twice is harmless."""
        with _lock:
            opened, self._opened = self._opened, None
            if opened is None:
                return
            opened.handles -= 1
            if not opened.handles:
                _forget(opened)
                opened.store.close()


def open_shared(path: Path, layout: Layout) -> Store:
    """A handle of the store in a folder, which is opened or created if this process has none.

    Raises:
        IndexInUse: Another process holds the folder.
        IndexMismatch: Its vectors are not those of the layout.
    """
    key = path.resolve()
    with _lock:
        opened = _open_stores.get(key)
        if opened is not None and opened.folder != _identity(key):
            logger.info("%s was removed: what this process has open of it stays as it is", path)
            _forget(opened)
            _kept.append(opened)
            opened = None
        if opened is None:
            store = EdgeStore.open(path, layout) if path.exists() else EdgeStore.create(path, layout)
            opened = _open_stores[key] = _OpenStore(store, _identity(key))
        elif opened.store.layout != layout:
            raise IndexMismatch(f"{path} holds other vectors", "ingest into a new index")
        opened.handles += 1
        return cast(Store, StoreHandle(opened))


def _identity(path: Path) -> tuple[int, int]:
    """What tells a folder from another one at the same path; zeros if there is none."""
    try:
        info = path.stat()
    except OSError:
        return 0, 0
    return info.st_dev, info.st_ino


def _forget(opened: _OpenStore) -> None:
    for key in [key for key, other in _open_stores.items() if other is opened]:
        del _open_stores[key]


def _start_over_in_child() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held the old one
    _kept.extend(_open_stores.values())
    _open_stores.clear()


os.register_at_fork(after_in_child=_start_over_in_child)
