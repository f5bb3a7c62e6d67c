"""The location of an index: a directory, or a collection on a Qdrant server with a directory beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from docrag.store.base import Store
    from docrag.store.layout import Fingerprint, Layout


class Location(Protocol):
    """A place where an index is or can be created: its points, and the files that belong to it."""

    uri: str
    folder: Path
    """Holds the manifest, the page images, the captions of a vision model and the tuned search settings."""

    def fingerprint(self) -> Fingerprint | None:
        """Return what the index was built with; None if there is no index."""
        ...

    def make(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """Create a new index and open it."""
        ...

    def open(self, fingerprint: Fingerprint, layout: Layout) -> Store:
        """Open the existing index.

        If the fingerprint names the same weights under another path, the stored fingerprint is updated.

        Raises:
            IndexMismatch: The index was migrated to other models in the meantime.
        """
        ...

    def close(self) -> None:
        """Close a connection that no store has taken over."""
        ...


class IndexLocation(Location, Protocol):
    """The location of an index that a migration can replace."""

    def staging(self) -> Location:
        """Return the location where the replacement is built; the same one again after a kill.

        Raises:
            StoreError: The index at this location cannot be replaced.
        """
        ...

    def switch(self, *, keep_old: bool) -> str:
        """Replace the index by the one in staging; once decided, a kill only delays it (see `recover`).

        Args:
            keep_old: Whether to keep the replaced index.

        Returns:
            The URI of the replaced index; empty if it was not kept.
        """
        ...

    def recover(self) -> None:
        """Finish a switch that was decided and then interrupted; do nothing if there is none."""
        ...

    def abandon(self) -> None:
        """Discard what was built in staging."""
        ...
