"""The payload indexes of a collection: which fields have one, and how a missing one is made."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

from qdrant_client import models

from docrag.errors import ServerRefused, SettingsError
from docrag.store.layout import INTEGERS, KEYWORDS
from docrag.store.payload import HELD_BY
from docrag.store.server.connection import Connection
from docrag.store.server.schema import CollectionOptions

logger = logging.getLogger(__name__)

TEXT = "page_content"
"""The payload field with an index of words, so that `page_content:catering` finds pages in the dashboard."""


def payload_indexes(options: CollectionOptions) -> Iterator[tuple[str, Any]]:
    """Yield the payload fields to index, and how.

    Filters and facets by these fields are quick, and are the only ones that a collection in strict mode
    allows.

    Raises:
        SettingsError: The tenant is a field of numbers.
    """
    for key in (*KEYWORDS, HELD_BY):
        if key != options.tenant:
            yield key, models.PayloadSchemaType.KEYWORD
    for key in INTEGERS:
        if key == options.tenant:
            raise SettingsError(
                f"{key} is a number and cannot be the tenant", "choose a field that holds text"
            )
        yield key, models.PayloadSchemaType.INTEGER
    yield (
        TEXT,
        models.TextIndexParams(
            type=models.TextIndexType.TEXT, tokenizer=models.TokenizerType.WORD, lowercase=True
        ),
    )
    if options.tenant:
        kind = models.KeywordIndexType.KEYWORD
        yield options.tenant, models.KeywordIndexParams(type=kind, is_tenant=True)


def make_payload_indexes(connection: Connection, name: str, options: CollectionOptions) -> None:
    """Make the payload indexes that a collection does not have.

    They are made before pages are written; a later one has to read all pages again. An older docrag made
    fewer of them.

    Args:
        connection: To the server.
        name: The collection.
        options: With which it was created.
    """
    info = connection.info(name)
    existing = info.payload_schema if info else {}
    missing = {key: schema for key, schema in payload_indexes(options) if key not in existing}
    if not missing:
        return
    started = time.perf_counter()
    for key, schema in missing.items():
        _make_payload_index(connection, name, key, schema)
    logger.info(
        "made payload indexes in %s for %s in %.1f s",
        name,
        ", ".join(missing),
        time.perf_counter() - started,
    )


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
