"""What a server says at its start about the addresses under which pages name their images."""

from __future__ import annotations

import logging
import shlex
from urllib.parse import urlsplit

from docrag.serve.security import own_host_check
from docrag.serve.settings import ServeSettings

logger = logging.getLogger(__name__)

_DEFAULT_PORTS = {"http": 80, "https": 443}


def is_own_address(base_url: str, own_url: str, settings: ServeSettings) -> bool:
    """Whether page images under a base URL are requested from this server, directly or through its proxy.

    Args:
        base_url: The base URL that pages name.
        own_url: Where this server listens.
        settings: Its host, and the host names that proxies forward.
    """
    named, own = urlsplit(base_url), urlsplit(own_url)
    host = (named.hostname or "").lower()
    if host in {name.lower() for name in settings.allowed_hosts}:
        return True  # a proxy, which may have any port
    port = named.port or _DEFAULT_PORTS.get(named.scheme)
    return port == own.port and own_host_check(settings)(host)


def other_address_notice(index: str, base_url: str, own_url: str, settings: ServeSettings) -> str:
    """Return a notice with the command that mends it if pages name another server than this; else nothing.

    Args:
        index: The address of the index, as a user gives it.
        base_url: The base URL that its pages name; empty if it has no pages.
        own_url: Where this server listens.
        settings: Of this server.
    """
    if not base_url or is_own_address(base_url, own_url, settings):
        return ""
    logger.info("the pages of %s name %s, and this server is %s", index, base_url, own_url)
    command = f"docrag ingest --index {shlex.quote(index)} --image-base-url {own_url}"
    return (
        f"the pages of this index name {base_url} as the address of their images, so Qdrant's dashboard "
        f"asks there and not here; this changes it: {command}"
    )
