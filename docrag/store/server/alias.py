"""Aliases: how a rebuilt index replaces the old one in one step.

The address of an index names an alias. Behind `reports` there is the collection `reports--1`, and after a
migration `reports--2`. Until the switch every search is answered by the old collection, after it by the new
one. A collection that is being filled, and to which no alias points yet, is a staging collection.

Qdrant replaces an alias without asking what it pointed to, but it creates a collection of one name only once.
So machines that make an index at the same time agree on the collection first, and only a migration replaces
an alias.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from qdrant_client import models

from docrag.errors import IndexMismatch, IndexReplaced, ServerRefused, StoreError
from docrag.store.layout import Fingerprint, Layout, is_equal, require_equal
from docrag.store.server.connection import Connection
from docrag.store.server.failures import FORBIDDEN, NOT_FOUND
from docrag.store.server.payload_indexes import make_payload_indexes
from docrag.store.server.schema import (
    DEFAULTS,
    CollectionOptions,
    collection_settings,
    find_fingerprint,
    read_fingerprint,
    require_layout,
)

logger = logging.getLogger(__name__)

_ROUNDS = 5
"""How often an index that others change at the same time is looked for."""
_CREATION_SECONDS = 10.0
"""How long a collection that another machine is creating may take to become readable."""
_POLL_SECONDS = 0.1


def collection_behind(connection: Connection, name: str) -> str | None:
    """Return the collection that an alias points to, or the name itself if it is a collection; else None."""
    target = alias_target(connection, name)
    return target or (name if name in _collections(connection) else None)


def alias_target(connection: Connection, name: str) -> str | None:
    """Return the collection that an alias points to; None if there is no such alias."""
    return _aliases(connection).get(name)


def detached_collections(connection: Connection) -> dict[str, Fingerprint]:
    """Return the collections of an index whose alias is gone, by name, with what each was built with.

    A snapshot that is restored brings a collection without its alias, and deleting an alias leaves the
    collection. The first ingest of another machine looks the same until it has set the alias.

    Returns:
        The collections NAME--1, NAME--2, ... that docrag made and to which no alias points. Empty if the
        address names an alias or a collection.
    """
    return _detached(connection, _read_names(connection)) or {}


def make_index(
    connection: Connection,
    layout: Layout,
    fingerprint: Fingerprint,
    options: CollectionOptions = DEFAULTS,
) -> str:
    """Let the connection's address name an index with this fingerprint, and return its collection.

    Several machines may do this at once, and all of them get the same collection: the server creates a name
    once, whoever is refused uses what the other one created, and an alias that has appeared is not replaced.
    A collection that has lost its alias gets it again.

    Raises:
        IndexMismatch: The address names, or has just come to name, an index that was built with other models.
            Or a collection of this name has no alias, and was built with other models.
        StoreError: The address names a collection that docrag did not create. Or several collections have
            lost their alias, and nothing says which of them is meant.
        ServerRefused: The server does not create the collection.
    """
    name = connection.address.collection
    for _ in range(_ROUNDS):
        current = collection_behind(connection, name)
        if current is None:
            _attach(connection, layout, fingerprint, options)
            # Read again, for a migration may have set the alias in the same moment.
            current = collection_behind(connection, name)
        info = connection.info(current) if current else None
        if current and info:
            require_equal(read_fingerprint(info, str(connection.address)), fingerprint)
            require_layout(info, layout, str(connection.address))
            return current
        logger.info("%s changed while it was opened: looking again", connection.address)
    raise StoreError(
        f"{connection.address} is being made and removed by others at the same time",
        "run the same again once they have ended",
    )


def switch_alias(connection: Connection, alias: str, collection: str, *, expected: str | None = None) -> None:
    """Let an alias, new or existing, point to a collection; there is no moment at which it points to nothing.

    Args:
        connection: To the server.
        alias: The name of the alias.
        collection: The collection that it points to afterwards.
        expected: The collection that it points to now, if it exists; None replaces any.

    Raises:
        IndexReplaced: The alias points to another collection than the one expected, or somebody else has
            switched it in the same moment.
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
    current = alias_target(connection, alias)
    if expected and current not in (None, expected, collection):
        raise _switched_by_others(connection, alias, current)
    changes: list[models.AliasOperations] = []
    if current is not None:
        changes.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)))
    _change_aliases(connection, [*changes, _create_alias(alias, collection)])
    current = alias_target(connection, alias)
    if current != collection:
        raise _switched_by_others(connection, alias, current)
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
    names = _read_names(connection)
    free = _free_collections(connection, names)
    for candidate in [name] if name else free:
        if candidate in free and _is_built_with(connection, candidate, fingerprint):
            logger.debug("continuing with the collection %s", candidate)
            make_payload_indexes(connection, candidate, options)
            return candidate
    name = name or _next_name(connection, names)
    _create_collection(connection, name, layout, fingerprint, options)
    if not _is_built_with(connection, name, fingerprint):
        raise StoreError(
            f"the collection {connection.address.url}/{name} exists already",
            "another machine is migrating the index to other models: wait until it has ended",
        )
    make_payload_indexes(connection, name, options)
    return name


def next_collection_name(connection: Connection) -> str:
    """Return an unused collection name for the connection's address: NAME--1, NAME--2, and so on."""
    return _next_name(connection, _read_names(connection))


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


@dataclass(frozen=True, slots=True)
class _Names:
    """The names on a server at one moment."""

    collections: frozenset[str]
    aliases: Mapping[str, str]
    """The collection that each alias points to."""

    def has(self, name: str) -> bool:
        """Whether there is an alias or a collection of this name."""
        return name in self.aliases or name in self.collections


def _read_names(connection: Connection) -> _Names:
    # An alias comes after its collection, so in this order none is missed that belongs to the collections.
    collections = _collections(connection)
    return _Names(collections, _aliases(connection))


def _numbered(connection: Connection, names: _Names) -> dict[str, int]:
    """Return the collections that are named NAME--number after the address, with their numbers, in order."""
    pattern = rf"{re.escape(connection.address.collection)}--(\d+)"
    matches = [re.fullmatch(pattern, name) for name in names.collections]
    numbered = {match[0]: int(match[1]) for match in matches if match}
    return dict(sorted(numbered.items(), key=lambda item: item[1]))


def _free_collections(connection: Connection, names: _Names) -> list[str]:
    """Return the numbered collections to which no alias points."""
    in_use = frozenset(names.aliases.values())
    return [name for name in _numbered(connection, names) if name not in in_use]


def _next_name(connection: Connection, names: _Names) -> str:
    number = max(_numbered(connection, names).values(), default=0) + 1
    return f"{connection.address.collection}--{number}"


def _detached(connection: Connection, names: _Names) -> dict[str, Fingerprint] | None:
    """Return what `detached_collections` describes; None if a collection is gone by the time it is read."""
    detached: dict[str, Fingerprint] = {}
    if names.has(connection.address.collection):
        return detached
    for name in _free_collections(connection, names):
        info = connection.info(name)
        if info is None:
            return None
        with suppress(StoreError):  # docrag did not create it
            detached[name] = read_fingerprint(info, name)
    return detached


def _attach(
    connection: Connection, layout: Layout, fingerprint: Fingerprint, options: CollectionOptions
) -> None:
    """Find or create a collection with this fingerprint, and let the address name it if nothing else does.

    When this returns, the address may name another collection, or still nothing: the caller looks again.

    Raises:
        IndexMismatch: A collection of this name has no alias, and was built with other models.
        StoreError: Several collections have lost their alias.
        ServerRefused: The server does not create the collection.
    """
    name = connection.address.collection
    names = _read_names(connection)
    detached = _detached(connection, names)
    if detached is None or names.has(name):
        return
    if detached:
        collection = _choose(connection, detached, fingerprint)
        info = connection.info(collection)
        # An empty one is most likely being made by another machine at the moment.
        level = logging.WARNING if info and info.points_count else logging.INFO
        logger.log(level, "no alias %s: it is set to the collection %s", connection.address, collection)
    else:
        # From the same list: whoever else makes this index at the moment comes to the same name.
        collection = _next_name(connection, names)
        _create_collection(connection, collection, layout, fingerprint, options)
        built_with = _fingerprint_of(connection, collection)
        if built_with is None:
            return
        require_equal(built_with, fingerprint)
    try:
        make_payload_indexes(connection, collection, options)
        if collection_behind(connection, name) is None:
            _change_aliases(connection, [_create_alias(name, collection)])
            logger.info("alias %s now points to the collection %s", connection.address, collection)
    except ServerRefused as refused:
        if refused.status != NOT_FOUND:
            raise
        logger.info("the collection %s was dropped meanwhile", collection)


def _choose(connection: Connection, detached: Mapping[str, Fingerprint], fingerprint: Fingerprint) -> str:
    """Return the one collection that has lost its alias and was built with this fingerprint."""
    equal = [name for name, built_with in detached.items() if is_equal(built_with, fingerprint)]
    if len(equal) == 1:
        return equal[0]
    address, listed = connection.address, ", ".join(equal or detached)
    if not equal:
        built_with = next(iter(detached.values()))
        try:
            require_equal(built_with, fingerprint)
        except IndexMismatch as error:
            raise IndexMismatch(
                f"{address} has lost its alias, but {listed} is there: {error.message}",
                f"leave these models out, and it gets its alias again; or drop {listed} if nobody needs it",
            ) from error
    raise StoreError(
        f"{address} has lost its alias, and several collections may be meant: {listed}",
        f"name one of them in --index, such as {address.url}/{equal[-1]}, or drop those that nobody needs",
    )


def _create_collection(
    connection: Connection,
    name: str,
    layout: Layout,
    fingerprint: Fingerprint,
    options: CollectionOptions,
) -> None:
    """Create a collection; one that has been created in the meantime, with any fingerprint, is left as it is.

    Raises:
        ServerRefused: The server does not create it, and nobody else has.
    """
    settings = collection_settings(layout, fingerprint, options, connection.version)
    try:
        connection.call(lambda: connection.client.create_collection(name, **settings))
    except ServerRefused as refused:
        # An earlier try may have created it although its answer was lost, or another machine was quicker.
        if refused.status == FORBIDDEN:
            raise
        if not _appears(connection, name, patiently="already exists" in refused.message):
            raise
        logger.info("the collection %s/%s exists already", connection.address.url, name)
        return
    logger.info("created the collection %s/%s", connection.address.url, name)


def _appears(connection: Connection, name: str, *, patiently: bool) -> bool:
    """Whether a collection exists. One that is being created may not be readable for a moment."""
    deadline = time.monotonic() + (_CREATION_SECONDS if patiently else 0)
    while connection.info(name) is None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _fingerprint_of(connection: Connection, name: str) -> Fingerprint | None:
    """Return what a collection was built with; None if there is none, or docrag did not create it."""
    info = connection.info(name)
    return find_fingerprint(info) if info else None


def _is_built_with(connection: Connection, name: str, fingerprint: Fingerprint) -> bool:
    built_with = _fingerprint_of(connection, name)
    return built_with is not None and is_equal(built_with, fingerprint)


def _switched_by_others(connection: Connection, alias: str, current: str | None) -> IndexReplaced:
    return IndexReplaced(
        f"{connection.address.url}/{alias} was migrated elsewhere in the meantime: it is {current} now",
        "drop what this migration has built: docrag migrate --abandon; then migrate again if that is needed",
    )


def _create_alias(alias: str, collection: str) -> models.CreateAliasOperation:
    create = models.CreateAlias(collection_name=collection, alias_name=alias)
    return models.CreateAliasOperation(create_alias=create)


def _change_aliases(connection: Connection, changes: Sequence[models.AliasOperations]) -> None:
    connection.call(lambda: connection.client.update_collection_aliases(changes))


def _aliases(connection: Connection) -> Mapping[str, str]:
    """Return the collection that each alias of the server points to."""
    aliases = connection.read(connection.client.get_aliases).aliases
    return {alias.alias_name: alias.collection_name for alias in aliases}


def _collections(connection: Connection) -> frozenset[str]:
    collections = connection.read(connection.client.get_collections).collections
    return frozenset(collection.name for collection in collections)
