"""From the `index` setting to a location. Looking a location up changes nothing; `recover` does."""

from __future__ import annotations

import logging
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from docrag.errors import SettingsError
from docrag.location.base import IndexLocation
from docrag.location.directory import DirectoryLocation
from docrag.location.names import index_name
from docrag.store.identity import only_folder_named
from docrag.store.server.address import Address, is_address

if TYPE_CHECKING:
    from docrag.settings import Settings
    from docrag.store.layout import Fingerprint

logger = logging.getLogger(__name__)


def locate(settings: Settings) -> IndexLocation:
    """The location that the `index` setting names; a server is connected to.

    Raises:
        SettingsError: The setting names no location, or another setting does not fit it.
        ServerUnreachable: The server does not answer.
        ServerRefused: The server refuses the key, or it is not a Qdrant server.
    """
    uri = settings.index
    if is_address(uri):
        return _server_location(settings, Address.parse(uri))
    if "://" in uri:
        raise SettingsError(
            f"{uri} is not a place for an index",
            "give a directory, or a collection such as http://localhost:6333/reports",
        )
    _refuse_server_settings(settings)
    return DirectoryLocation(
        Path(uri).expanduser(), in_process=settings.in_process, idle_seconds=settings.engine_idle
    )


def local_folder(settings: Settings) -> Path:
    """The directory of an index on this machine, which may not exist. No server is connected to."""
    uri = settings.index
    return _files_folder(settings, Address.parse(uri)) if is_address(uri) else Path(uri).expanduser()


def existing_folder(settings: Settings) -> Path:
    """The directory to read the files of an index from; it may not exist. No server is connected to.

    If a collection has none for this spelling of its address, another one that was noted to belong to a
    collection of this name is returned, unless there are several. That may be a collection on another server,
    so nothing must be written there.
    """
    folder, uri = local_folder(settings), settings.index
    if not is_address(uri) or folder.exists():
        return folder
    collection = Address.parse(uri).collection
    other = only_folder_named(collection, folder.parent)
    if other is None:
        return folder
    logger.info("there is no %s: taking %s, which belongs to %s", folder, other, collection)
    return other


def name_of(settings: Settings) -> str:
    """The name of an index in the addresses of its page images. No server is connected to."""
    uri = settings.index
    return (
        Address.parse(uri).collection
        if is_address(uri)
        else index_name(str(local_folder(settings).resolve()))
    )


def require_index(location: IndexLocation) -> Fingerprint:
    """What the index at a location was built with.

    Raises:
        IndexNotFound: There is no index.
    """
    fingerprint = location.fingerprint()
    if fingerprint is None:
        raise location.not_found()
    return fingerprint


def _server_location(settings: Settings, address: Address) -> IndexLocation:
    from docrag.location.server import ServerLocation
    from docrag.store.server.connection import TIMEOUT, connect
    from docrag.store.server.schema import CollectionOptions

    key = settings.api_key.get_secret_value() if settings.api_key else ""
    if key and not (address.secure or address.local or settings.api_key_in_clear):
        raise SettingsError(
            f"the key would be sent to {address.url} unencrypted, readable by anyone on the way",
            "use https; or, in a network that you trust, set api_key_in_clear = true in docrag.toml or "
            "DOCRAG_API_KEY_IN_CLEAR=1",
        )
    options = CollectionOptions(
        settings.tenant or "", settings.shards, settings.replicas, settings.write_consistency
    )
    return ServerLocation(
        lambda: connect(
            address,
            key,
            grpc_port=settings.grpc_port,
            ca_file=settings.ca_file or "",
            timeout=max(TIMEOUT, math.ceil(settings.server_timeout)),
            read_timeout=settings.server_timeout,
            write_timeout=settings.server_write_timeout,
        ),
        _files_folder(settings, address),
        options,
    )


def _refuse_server_settings(settings: Settings) -> None:
    from docrag.settings import SERVER_OPTIONS  # whoever has settings has loaded it

    for name in SERVER_OPTIONS:
        if getattr(settings, name) is not None:
            raise SettingsError(
                f"{name} applies to collections on a server, and {settings.index} is a directory",
                f"remove it from docrag.toml and DOCRAG_{name.upper()}, or name a collection in --index",
            )


def _files_folder(settings: Settings, address: Address) -> Path:
    """The directory for what a server does not keep, one for each collection."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    root = Path(settings.files).expanduser() if settings.files else Path(data) / "docrag"
    return root / re.sub(r"[^\w.-]+", "_", str(address).partition("://")[2])
