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


def note_identity(folder: Path, identity: CollectionIdentity) -> None:
    """Note the collection that a directory belongs to; where that cannot be written, it stays unnoted."""
    if noted_identity(folder) == identity:
        return
    with suppress(OSError):
        write_atomically(folder / _FILE, json.dumps(asdict(identity)))
        logger.info("%s belongs to the collection %s with the id %s", folder, identity.name, identity.id)


def folder_of(identity: CollectionIdentity, root: Path) -> Path | None:
    """Return the directory below a root that belongs to a collection; None if there is none."""
    with suppress(OSError):
        folders = [folder for folder in sorted(root.iterdir()) if noted_identity(folder) == identity]
        if len(folders) > 1:
            logger.warning("%s belong to one collection: using %s", ", ".join(map(str, folders)), folders[0])
        return folders[0] if folders else None
    return None
