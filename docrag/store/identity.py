"""Which collection a directory on this machine belongs to, however the address of the collection is spelt.

The server of a collection may be reached as localhost, as 127.0.0.1 and through any node of a cluster, and
the collection by its alias or its own name. So the collection has an id, which is noted in the directory that
holds its manifest and page images on this machine.
"""

from __future__ import annotations

import json
import logging
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from docrag.common.files import write_atomically

logger = logging.getLogger(__name__)

_FILE = "collection.json"


@dataclass(frozen=True, slots=True)
class CollectionIdentity:
    """What tells a collection from all others."""

    name: str
    """Without the number that docrag adds: a migration replaces reports--1 by reports--2."""
    id: str
    """Random, and kept by migrations and snapshots. So a copy that was restored under another name has the
    same id."""

    @classmethod
    def of(cls, collection: str, id: str) -> CollectionIdentity:
        """Return the identity of a collection.

        >>> CollectionIdentity.of("reports--2", "6f3c").name
        'reports'
        """
        return cls(re.sub(r"--\d+$", "", collection), id)


def noted_identity(folder: Path) -> CollectionIdentity | None:
    """Return the collection that a directory belongs to; None if that was never noted."""
    try:
        note = json.loads((folder / _FILE).read_text())
        return CollectionIdentity(str(note["name"]), str(note["id"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def noted_address(folder: Path) -> str:
    """Return the address at which the collection of a directory was reached first; empty if it is unknown."""
    try:
        return str(json.loads((folder / _FILE).read_text())["address"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def note_identity(folder: Path, identity: CollectionIdentity, address: str = "") -> None:
    """Note the collection that a directory belongs to; where that cannot be written, it stays unnoted.

    Args:
        folder: The directory.
        identity: The collection.
        address: Where the collection was reached; one that is noted already stays.
    """
    is_noted = noted_identity(folder) == identity
    if is_noted and (not address or noted_address(folder)):
        return
    note = {**asdict(identity), "address": address} if address else asdict(identity)
    with suppress(OSError):
        write_atomically(folder / _FILE, json.dumps(note))
        logger.info("%s belongs to the collection %s with the id %s", folder, identity.name, identity.id)


def folder_of(identity: CollectionIdentity, root: Path) -> Path | None:
    """Return the directory below a root that belongs to a collection; None if there is none."""
    with suppress(OSError):
        folders = [folder for folder in sorted(root.iterdir()) if noted_identity(folder) == identity]
        if len(folders) > 1:
            logger.warning("%s belong to one collection: using %s", ", ".join(map(str, folders)), folders[0])
        return folders[0] if folders else None
    return None


def only_folder_named(collection: str, root: Path) -> Path | None:
    """Return the directory below a root that belongs to a collection of this name, if there is just one.

    Args:
        collection: The collection, or its alias; reports and reports--2 are the same.
        root: The directory that holds those of all collections.
    """
    name = CollectionIdentity.of(collection, "").name
    with suppress(OSError):
        noted = [(folder, noted_identity(folder)) for folder in root.iterdir()]
        folders = [folder for folder, identity in noted if identity and identity.name == name]
        return folders[0] if len(folders) == 1 else None
    return None
