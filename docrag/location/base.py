"""What a location is: the protocols that directories and collections on a server have in common."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from docrag.errors import IndexNotFound

if TYPE_CHECKING:
    from docrag.store.base import Store
    from docrag.store.layout import Fingerprint, Layout


class Location(Protocol):
    """Where the points of one index are stored, together with the files that belong to them."""

    uri: str
    """The address that a user gives to `--index`."""
    address: str
    """The same address in a form that means the same in every process: without a relative path."""
    name: str
    """The name of the index in the addresses of its page images; a staged index has that of the index."""
    folder: Path
    """The directory on this machine that holds the manifest, page images, captions and the tuned plan."""

    def fingerprint(self) -> Fingerprint | None:
        """What the index was built with, or None if there is no index."""
        ...

    def make(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """Create a new, empty index."""
        ...

    def open(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """Open the existing index.

        Args:
            fingerprint: What it is expected to be built with. If the same weights have moved to another path,
                the new path is remembered.
            layout: Its named vectors.

        Raises:
            IndexMismatch: The index was migrated to other models in the meantime.
        """
        ...

    def close(self) -> None:
        """Release a connection that no store has taken over."""
        ...


class IndexLocation(Location, Protocol):
    """The location of an index that a migration can replace by a new one."""

    dashboard: str
    """The address of the collection in Qdrant's dashboard; empty for a directory."""

    def detached(self) -> Fingerprint | None:
        """What an index was built with that is here but has lost its name; None if there is none.

        `make` with the same fingerprint gives it its name again.
        """
        ...

    def not_found(self) -> IndexNotFound:
        """The error that says that there is no index here, and what to do about it."""
        ...

    def staging(self) -> Location:
        """Where the index that will replace this one is built; after a kill it is the same place again.

        Raises:
            StoreError: This index cannot be replaced.
        """
        ...

    def switch(self, *, keep_old: bool) -> str:
        """Make the staged index the current one. Once this has begun, a kill cannot undo it.

        Args:
            keep_old: Whether to keep the index that was here.

        Returns:
            The address of the old index, or an empty string if it was removed.
        """
        ...

    def recover(self) -> None:
        """Finish a switch that was decided and then interrupted; does nothing if there is none."""
        ...

    def abandon(self) -> None:
        """Delete the staged index."""
        ...


def no_index(uri: str) -> IndexNotFound:
    """The error for a location at which there is no index."""
    return IndexNotFound(f"there is no index at {uri}", f"make one: docrag ingest FOLDER --index {uri}")
