"""Makes the payload indexes that a collection does not have."""

from __future__ import annotations

import logging
import time
from typing import Any

from docrag.errors import ServerRefused
from docrag.store.payload import HELD_BY
from docrag.store.server.connection import Connection
from docrag.store.server.schema import CollectionOptions, payload_indexes

logger = logging.getLogger(__name__)

_NEEDED = ("metadata.document_id", "metadata.source", "metadata.sources", HELD_BY)
"""The fields by which docrag itself filters and counts; they are indexed first."""


def make_payload_indexes(connection: Connection, name: str, options: CollectionOptions) -> None:
    """Make the payload indexes that a collection does not have.

    They are made before pages are written; a later one has to read all pages again. An older docrag made
    fewer of them.

    Args:
        connection: To the server.
        name: The collection.
        options: With which it was created.

    Raises:
        ServerRefused: The server does not make an index that docrag needs itself. Without the others, only
            filters are slower, or are refused in strict mode.
    """
    info = connection.info(name)
    existing = info.payload_schema if info else {}
    needed = (*_NEEDED, options.tenant)
    missing = {key: schema for key, schema in payload_indexes(options) if key not in existing}
    if not missing:
        return
    made: list[str] = []
    started = time.perf_counter()
    for key in sorted(missing, key=lambda key: key not in needed):
        try:
            _make_payload_index(connection, name, key, missing[key])
        except ServerRefused as refused:
            if key in needed:
                raise
            logger.warning("%s stays without some payload indexes: %s", name, refused.message)
            break
        made.append(key)
    seconds = time.perf_counter() - started
    logger.info("made payload indexes in %s for %s in %.1f s", name, ", ".join(made) or "nothing", seconds)


def add_missing_indexes(connection: Connection, name: str, options: CollectionOptions) -> None:
    """Make the payload indexes that a collection of an older docrag does not have.

    A server that refuses them keeps the collection as it is, which can be searched and filled without them.
    """
    try:
        make_payload_indexes(connection, name, options)
    except ServerRefused as refused:
        logger.warning("%s stays without some payload indexes: %s", name, refused.message)


def _make_payload_index(connection: Connection, name: str, key: str, schema: Any) -> None:
    connection.call(lambda: connection.client.create_payload_index(name, key, schema, wait=True))
