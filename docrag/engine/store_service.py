"""The store of a directory, for handles in other processes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from docrag.common.rpc.server import Session
from docrag.errors import IndexInUse, StoreError
from docrag.location.directory import DirectoryLocation
from docrag.store.base import Store
from docrag.store.layout import Fingerprint, Layout
from docrag.store.local.process import COMMAND
from docrag.store.local.wire import Answer, Records, ids_in, pack_answer, pack_records
from docrag.store.requests import PayloadFilter, QueryRequest

logger = logging.getLogger(__name__)

LOCK_PATIENCE = 10.0
"""Seconds for which opening waits for a lock: a migration that moves a new index in holds it for a moment."""
ENGINE_PATIENCE = 120.0
"""The same for a process like this one that is ending: it finishes its calls, such as `optimize`, first."""
_POLL_SECONDS = 0.05


class StoreService:
    """Opens the shard for the first handle that comes, and closes it with the process."""

    def __init__(self, folder: Path) -> None:
        self.location = DirectoryLocation(folder, in_process=True)
        self._lock = threading.Lock()
        self._store: Any = None  # a handle of an EdgeStore

    def handlers(self) -> dict[str, Callable[..., Any]]:
        """The methods that can be called, by name."""
        return {
            "open": self.open,
            "upsert": self._call("upsert"),
            "flush": self._call("flush"),
            "query": self._query,
            "retrieve": self._retrieve,
            "scroll": self._call("scroll_step"),
            "set_payload": self._set_payload,
            "set_payloads": self._call("set_payloads"),
            "delete": self._call("delete"),
            "count": self._call("count"),
            "facet": self._call("facet"),
            "optimize": self._call("optimize"),
            "add_missing_indexes": self._call("add_missing_indexes"),
            "version": self._call("version"),
        }

    def open(self, session: Session, fingerprint: Mapping[str, Any], layout: Layout) -> None:
        """Open the records for a handle, and create them if there are none.

        Raises:
            IndexInUse: Another process holds the directory without sharing it.
            IndexMismatch: The index was built with other encoders than the handle expects.
        """
        expected = Fingerprint(fingerprint)
        with self._lock:
            if self._store is None:
                self._store = self._open_patiently(expected, layout)
            else:
                self.location.confirm(expected)
        session.state["store"] = self._store

    @property
    def is_open(self) -> bool:
        """Whether the shard is open already."""
        return self._store is not None

    def store_of(self, session: Session) -> Any:
        """The store that a handle has opened.

        Raises:
            StoreError: It has not opened any.
        """
        store = session.state.get("store")
        if store is None:
            raise StoreError("the index was not opened on this connection")
        return store

    def close(self) -> None:
        """Flush and close the shard."""
        with self._lock:
            if self._store is not None:
                self._store.close()

    def _open_patiently(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        started = time.monotonic()
        while True:
            try:
                return self.location.open(fingerprint, layout)
            except IndexInUse as error:
                patience = ENGINE_PATIENCE if COMMAND in error.holder else LOCK_PATIENCE
                if time.monotonic() - started > patience:
                    raise
                logger.debug("waiting for the lock: %s", error.message)
                time.sleep(_POLL_SECONDS)

    def _call(self, method: str) -> Callable[..., Any]:
        """A method of the store as a handler."""

        def handler(session: Session, *arguments: Any) -> Any:
            return getattr(self.store_of(session), method)(*arguments)

        return handler

    def _query(
        self,
        session: Session,
        requests: list[QueryRequest],
        vectors: list[str],
        payload: list[str] | None,
    ) -> Answer:
        store = self.store_of(session)
        rankings = store.rank(requests)
        if not vectors and payload == []:
            return pack_answer(rankings, [])
        return pack_answer(rankings, store.retrieve_packed(ids_in(rankings), vectors, payload))

    def _retrieve(
        self, session: Session, ids: list[str], vectors: list[str], payload: list[str] | None
    ) -> Records:
        return pack_records(self.store_of(session).retrieve_packed(ids, vectors, payload))

    def _set_payload(
        self, session: Session, values: Mapping[str, Any], filter: PayloadFilter, key: str | None
    ) -> None:
        self.store_of(session).set_payload(values, filter, key=key)
