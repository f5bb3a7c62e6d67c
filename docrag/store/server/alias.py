"""Aliases: how a rebuilt index replaces the old one in one step.

The address of an index names an alias. Behind `reports` there is the collection `reports--1`, and after a
migration `reports--2`. Until the switch every search is answered by the old collection, after it by the new
one. A collection that is being filled, and to which no alias points yet, is a staging collection.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from qdrant_client import models

from docrag.errors import ServerRefused, StoreError
from docrag.store.layout import Fingerprint, Layout
from docrag.store.server.connection import Connection
from docrag.store.server.schema import (
    DEFAULTS,
    METADATA,
    CollectionOptions,
    collection_settings,
    fingerprint_metadata,
    payload_indexes,
    read_fingerprint,
)

logger = logging.getLogger(__name__)


def collection_behind(connection: Connection, name: str) -> str | None:
    """Return the collection that an alias points to, or the name itself if it is a collection; else None."""
    target = _aliases(connection).get(name)
    return target or (name if name in _collections(connection) else None)


def switch_alias(connection: Connection, alias: str, collection: str) -> None:
    """Let an alias, new or existing, point to a collection; there is no moment at which it points to nothing.

    Raises:
        StoreError: The alias is the name of a collection, or the collection does not exist.
    """
    collections = _collections(connection)
    url = connection.address.url
    if alias in collections:
        raise StoreError(
            f"{url}/{alias} is a collection, not an alias that can be switched to {collection}",
            f"use {url}/{collection} as the index from now on, and drop {alias}",
        )
    if collection not in collections:
        raise StoreError(f"there is no collection {url}/{collection}", "ingest into it first")
    changes: list[models.AliasOperations] = []
    if alias in _aliases(connection):
        changes.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)))
    create = models.CreateAlias(collection_name=collection, alias_name=alias)
    changes.append(models.CreateAliasOperation(create_alias=create))
    connection.call(lambda: connection.client.update_collection_aliases(changes))
    logger.info("alias %s/%s now points to the collection %s", url, alias, collection)


def make_staging(
    connection: Connection,
    layout: Layout,
    fingerprint: Fingerprint,
    options: CollectionOptions = DEFAULTS,
    name: str = "",
) -> str:
    """Create a staging collection for the connection's address, or find the one that was begun.

    Args:
        connection: To the server.
        layout: The vectors of the collection.
        fingerprint: What its vectors are made with.
        options: Applied when the collection is created.
        name: The collection to create or continue, from `next_collection_name`. If empty, a staging
            collection with this fingerprint is continued, or one with the next number is created.

    Returns:
        The name of the collection: that of the address, two hyphens and a number.

    Raises:
        ServerRefused: The server does not create it.
    """
    numbered = _numbered_collections(connection)
    in_use = frozenset(_aliases(connection).values())
    candidates = [name] if name else list(numbered)
    for candidate in candidates:
        is_free = candidate in numbered and candidate not in in_use
        if is_free and _has_fingerprint(connection, candidate, fingerprint):
            logger.debug("continuing with the collection %s", candidate)
            _make_payload_indexes(connection, candidate, options)
            return candidate
    name = name or next_collection_name(connection)
    _make_collection(connection, name, layout, fingerprint, options)
    return name


def next_collection_name(connection: Connection) -> str:
    """Return an unused collection name for the connection's address: NAME--1, NAME--2, and so on."""
    number = max(_numbered_collections(connection).values(), default=0) + 1
    return f"{connection.address.collection}--{number}"


def drop_collection(connection: Connection, collection: str) -> None:
    """Delete a collection that docrag created; nothing happens if it does not exist.

    Raises:
        StoreError: docrag did not create it, or an alias points to it.
    """
    info = connection.info(collection)
    if info is None:
        return
    uri = f"{connection.address.url}/{collection}"
    read_fingerprint(info, uri)
    for alias, target in _aliases(connection).items():
        if target == collection:
            raise StoreError(f"the alias {alias} points to {uri}", "let it point to another collection first")
    connection.call(lambda: connection.client.delete_collection(collection))
    logger.info("dropped the collection %s", uri)


def _has_fingerprint(connection: Connection, name: str, fingerprint: Fingerprint) -> bool:
    info = connection.info(name)
    metadata = info.config.metadata if info else None
    return metadata is not None and metadata.get(METADATA) == fingerprint_metadata(fingerprint)[METADATA]


def _make_collection(
    connection: Connection,
    name: str,
    layout: Layout,
    fingerprint: Fingerprint,
    options: CollectionOptions,
) -> None:
    settings = collection_settings(layout, fingerprint, options, connection.version)
    try:
        connection.call(lambda: connection.client.create_collection(name, **settings))
    except ServerRefused:
        # An earlier try may have created it although its answer was lost.
        if not _has_fingerprint(connection, name, fingerprint):
            raise
    logger.info("created the collection %s/%s", connection.address.url, name)
    _make_payload_indexes(connection, name, options)


def _make_payload_indexes(connection: Connection, name: str, options: CollectionOptions) -> None:
    info = connection.info(name)
    existing = info.payload_schema if info else {}
    for key, schema in payload_indexes(options):
        if key not in existing:
            _make_payload_index(connection, name, key, schema)


def _make_payload_index(
    connection: Connection, name: str, key: str, schema: models.PayloadSchemaType
) -> None:
    connection.call(lambda: connection.client.create_payload_index(name, key, schema, wait=True))


def _numbered_collections(connection: Connection) -> dict[str, int]:
    """Return the collections that are named NAME--number after the address, with their numbers."""
    pattern = rf"{re.escape(connection.address.collection)}--(\d+)"
    matches = [re.fullmatch(pattern, name) for name in _collections(connection)]
    return {match[0]: int(match[1]) for match in matches if match}


def _aliases(connection: Connection) -> Mapping[str, str]:
    """Return the collection that each alias of the server points to."""
    aliases = connection.read(connection.client.get_aliases).aliases
    return {alias.alias_name: alias.collection_name for alias in aliases}


def _collections(connection: Connection) -> frozenset[str]:
    collections = connection.read(connection.client.get_collections).collections
    return frozenset(collection.name for collection in collections)
