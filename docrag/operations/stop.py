"""End the engine's process of an index, for example before its directory is moved to another disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docrag.errors import SettingsError
from docrag.location.directory import DirectoryLocation
from docrag.location.resolve import locate, require_index
from docrag.store.server.address import is_address

if TYPE_CHECKING:
    from docrag.settings import Settings


def stop_engine(settings: Settings) -> int | None:
    """End the process that holds the directory of an index; it finishes the running calls and flushes.

    Whoever uses the index afterwards starts the process again.

    Args:
        settings: They name the index.

    Returns:
        The id of the process; None if none was running.

    Raises:
        SettingsError: The index is on a Qdrant server, which is not docrag's to stop.
        IndexNotFound: There is no index.
        StoreError: The process does not end.
    """
    if is_address(settings.index):
        raise SettingsError(
            f"{settings.index} is on a Qdrant server, which docrag does not stop",
            "name a directory in --index",
        )
    location = locate(settings)
    require_index(location)
    assert isinstance(location, DirectoryLocation)
    return location.process().stop()
