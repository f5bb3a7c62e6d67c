"""What the engine's process does for others: calls of a store, of the query encoder, and searches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from docrag.engine.query_service import QueryService
from docrag.engine.store_service import StoreService
from docrag.store.local.wire import CODEC


class Services:
    """The services of one directory."""

    codec = CODEC

    def __init__(self, folder: Path) -> None:
        self._store = StoreService(folder)
        self._queries = QueryService(self._store)

    def handlers(self) -> dict[str, Callable[..., Any]]:
        """The methods that can be called, by name."""
        return {**self._store.handlers(), **self._queries.handlers()}

    def close(self) -> None:
        """Close the shard, and end the processes of encoders that have any."""
        try:
            self._queries.close()
        finally:
            self._store.close()
