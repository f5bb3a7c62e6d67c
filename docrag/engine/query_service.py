"""The encoders of queries, and whole searches, for handles in other processes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from docrag.common.rpc.server import Session
from docrag.encode.encoders import Encoders
from docrag.encode.remote import RawImage, unpack_image
from docrag.engine.store_service import StoreService
from docrag.index.model_selection import RunOptions, choose_encoders
from docrag.index.opening import fingerprint_for, layout_of
from docrag.ingest.staging import IMAGES, Staging
from docrag.location.resolve import require_index
from docrag.search.answer import answer
from docrag.search.query import Query, make_query
from docrag.search.stages import stages_for
from docrag.store.images import PageImages
from docrag.store.layout import Fingerprint
from docrag.types import Hit, MultiVector, Vector

logger = logging.getLogger(__name__)


class QueryService:
    """Loads encoders for the first query that needs them, and keeps them as long as the process lives."""

    def __init__(self, store: StoreService) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._encoders: dict[bytes, Encoders] = {}

    def handlers(self) -> dict[str, Callable[..., Any]]:
        """The methods that can be called, by name."""
        return {
            "encode_query": self._encode_query,
            "encode_words": self._encode_words,
            "search": self._search,
        }

    def close(self) -> None:
        """End the processes of encoders that have any."""
        for encoders in self._encoders.values():
            encoders.close()

    def _encode_query(
        self,
        session: Session,
        models: Mapping[str, Any],
        text: str,
        image: RawImage | None,
        audio: Path | None,
    ) -> dict[str, Vector]:
        opened = None if image is None else unpack_image(image)
        return self._encoders_of(models).encode_query(text, opened, audio)

    def _encode_words(self, session: Session, models: Mapping[str, Any], text: str) -> MultiVector:
        return self._encoders_of(models).encode_words(text)

    def _encoders_of(self, models: Mapping[str, Any]) -> Encoders:
        """The encoders that a handle has chosen, by their fingerprint and by how they are run."""
        return self._kept(models["options"], Fingerprint(models["fingerprint"]))

    def _kept(self, options: Mapping[str, Any], fingerprint: Fingerprint) -> Encoders:
        key = orjson.dumps([options, fingerprint.values], option=orjson.OPT_SORT_KEYS)
        with self._lock:
            if key not in self._encoders:
                self._encoders[key] = choose_encoders(RunOptions(**options), fingerprint)
            return self._encoders[key]

    def _search(
        self,
        session: Session,
        options: Mapping[str, Any],
        wanted: Mapping[str, Any],
        image: Path | None,
        audio: Path | None,
    ) -> tuple[list[Hit], float] | None:
        """Answer a search of the command line, which then needs neither models nor arrays.

        Returns:
            The hits, and the milliseconds that the search took. None if a migration was interrupted, or if
            the encoders of the index are not such as one process loads for all.
        """
        if Staging(self._store.location.folder).decision() is not None:
            return None
        query = make_query(wanted["query"], image, audio, wanted["k"], wanted["mode"], wanted["filter"])
        stored = require_index(self._store.location)
        encoders = self._kept(options, stored)
        if not encoders.can_be_shared:
            return None
        self._open_and_load(session, encoders, stored, query)
        folder = self._store.location.folder
        store = self._store.store_of(session)
        started = time.perf_counter()
        hits = answer(store, PageImages(folder / IMAGES), encoders, query, stages_for(folder, store.count))
        return hits, (time.perf_counter() - started) * 1000

    def _open_and_load(self, session: Session, encoders: Encoders, stored: Fingerprint, query: Query) -> None:
        """Open the shard for this connection, and load the models meanwhile."""
        expected = fingerprint_for(encoders, None, stored)
        if self._store.is_open:
            self._store.open(session, expected.values, layout_of(expected))
            return
        with ThreadPoolExecutor(1) as loader:
            loading = loader.submit(encoders.encode_query, query.text, query.image, query.audio)
            self._store.open(session, expected.values, layout_of(expected))
            loading.exception()  # the search itself will raise it
