"""Names that point to collections, so that an index built anew takes the place of the old one at once.

The address of an index names an alias. Behind `reports` there is `reports--1`, and after a migration
`reports--2`: until the switch every search is answered by the old one, after it by the new one.
"""

from __future__ import annotations

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


def collection_behind(connection: Connection, name: str) -> str | None:
    """The collection that an alias points to; the name itself where it is a collection; None for neither."""
    target = _aliases(connection).get(name)
    return target or (name if name in _collections(connection) else None)


def switch_alias(connection: Connection, alias: str, collection: str) -> None:
    """Let an alias, which need not exist, point to a collection; at no moment does it point to nothing.

    Raises:
        StoreError: The alias is the name of a collection, or there is no such collection to point to.
    """
    collections = _collections(connection)
    where = connection.address.url
    if alias in collections:
        raise StoreError(
            f"{where}/{alias} is a collection, and no alias that could point to {collection}",
            f"use {where}/{collection} as the index from now on, and drop {alias}",
        )
    if collection not in collections:
        raise StoreError(f"there is no collection {where}/{collection}", "ingest into it first")
    changes: list[models.AliasOperations] = [
        models.CreateAliasOperation(
            create_alias=models.CreateAlias(collection_name=collection, alias_name=alias)
        )
    ]
    if alias in _aliases(connection):
        changes.insert(0, models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)))
    connection.call(lambda: connection.client.update_collection_aliases(changes))


def make_beside(
    connection: Connection,
    layout: Layout,
    fingerprint: Fingerprint,
    options: CollectionOptions = DEFAULTS,
    name: str = "",
) -> str:
    """Make a collection that the address does not point to yet, or find the one that was being filled.

    Args:
        connection: To the server.
        layout: Vectors of the collection.
        fingerprint: What its vectors are made with.
        options: What it is given.
        name: As `next_name` gave it; else one that was begun with the fingerprint goes on, or one is made.

    Returns:
        Its name: that of the address, two hyphens and a number.

    Raises:
        ServerRefused: The server does not make it.
    """
    there, taken = _numbered(connection), _aliases(connection).values()
    for draft in [name] if name else there:
        if draft in there and draft not in taken and _is_draft(connection, draft, fingerprint):
            _make_indexes(connection, draft, options)
            return draft
    name = name or next_name(connection)
    _make(connection, name, layout, fingerprint, options)
    return name


def next_name(connection: Connection) -> str:
    """A name for a collection behind the address that no collection has yet."""
    number = max(_numbered(connection).values(), default=0) + 1
    return f"{connection.address.collection}--{number}"


def drop(connection: Connection, collection: str) -> None:
    """Delete a collection that docrag made; one that is gone already is no error.

    Raises:
        StoreError: docrag did not make it, or an alias points to it.
    """
    info = connection.info(collection)
    if info is None:
        return
    where = f"{connection.address.url}/{collection}"
    read_fingerprint(info, where)
    if collection in (taken := _aliases(connection)).values():
        alias = next(name for name, target in taken.items() if target == collection)
        raise StoreError(f"{alias} points to {where}", "let it point to another collection first")
    connection.call(lambda: connection.client.delete_collection(collection))


def _is_draft(connection: Connection, name: str, fingerprint: Fingerprint) -> bool:
    info = connection.info(name)
    told = info.config.metadata if info else None
    return told is not None and told.get(METADATA) == fingerprint_metadata(fingerprint)[METADATA]


def _make(
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
        # The first of several tries may have made it, and its answer was lost.
        if not _is_draft(connection, name, fingerprint):
            raise
    _make_indexes(connection, name, options)


def _make_indexes(connection: Connection, name: str, options: CollectionOptions) -> None:
    info = connection.info(name)
    there = info.payload_schema if info else {}
    for key, kind in payload_indexes(options):
        if key not in there:
            _make_index(connection, name, key, kind)


def _make_index(connection: Connection, name: str, key: str, kind: models.PayloadSchemaType) -> None:
    connection.call(lambda: connection.client.create_payload_index(name, key, kind, wait=True))


def _numbered(connection: Connection) -> dict[str, int]:
    """Collections whose names are those of the address and a number."""
    pattern = rf"{re.escape(connection.address.collection)}--(\d+)"
    matches = [re.fullmatch(pattern, name) for name in _collections(connection)]
    return {match[0]: int(match[1]) for match in matches if match}


def _aliases(connection: Connection) -> Mapping[str, str]:
    """Collections by alias."""
    told = connection.call(connection.client.get_aliases).aliases
    return {alias.alias_name: alias.collection_name for alias in told}


def _collections(connection: Connection) -> frozenset[str]:
    told = connection.call(connection.client.get_collections).collections
    return frozenset(collection.name for collection in told)
