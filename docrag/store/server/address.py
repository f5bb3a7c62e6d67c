"""The address of a collection on a Qdrant server: http(s)://host:port/collection.

A cluster has several hosts, separated by commas. Behind a reverse proxy there is a path before the name of
the collection.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Self
from urllib.parse import quote, unquote, urlsplit

from docrag.errors import SettingsError

REST_PORT = 6333
GRPC_PORT = 6334
_WEB_PORTS = {"http": 80, "https": 443}

_HOST = re.compile(r"[\w.:-]+")
_NAME = re.compile(r"[^\W_][\w.-]{0,199}")
_PREFIX = re.compile(r"(/[^\W_][\w.~-]*)*")
_EXAMPLE = "such as http://localhost:6333/reports"


def is_address(uri: str) -> bool:
    """Whether an index URI names a collection on a server.

    >>> is_address("https://qdrant.example/reports"), is_address("./docrag-index")
    (True, False)
    """
    return uri.lower().startswith(("http://", "https://"))


@dataclass(frozen=True, slots=True)
class Address:
    """A collection on a server.

    >>> str(Address.parse("http://localhost/reports"))
    'http://localhost:6333/reports'
    >>> str(Address.parse("http://a:6333,b/reports")), str(Address.parse("https://example.org/qdrant/reports"))
    ('http://a:6333,b:6333/reports', 'https://example.org:443/qdrant/reports')
    """

    scheme: str
    host: str
    port: int
    collection: str
    prefix: str = ""
    """The path before the collection, such as "/qdrant", under which a reverse proxy shows the server."""
    others: tuple[tuple[str, int], ...] = ()
    """Host and port of the other machines of the cluster, which are tried in turn."""

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Parse an address.

        The default port is 6333, as in Qdrant's own clients; with a path before the collection it is that of
        the scheme, since a reverse proxy answers there.

        Raises:
            SettingsError: It is not such an address, or it holds a user name, a password or a query.
        """
        try:
            parts = urlsplit(_with_one_scheme(uri.strip()))
        except ValueError as error:
            raise SettingsError(f"the address of the index cannot be read: {error}", _EXAMPLE) from None
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise SettingsError(
                "the address of an index must hold no user, password or query",
                f"{_EXAMPLE}; give the key as DOCRAG_API_KEY",
            )
        prefix, collection = _split_path(uri, parts.path)
        default_port = _WEB_PORTS.get(parts.scheme, REST_PORT) if prefix else REST_PORT
        first, *others = [
            _host_and_port(uri, parts.scheme, text, default_port) for text in parts.netloc.split(",")
        ]
        return cls(parts.scheme, *first, collection, prefix, tuple(others))

    @property
    def url(self) -> str:
        """The address of the server, without the collection; of a cluster with all its hosts."""
        hosts = ((self.host, self.port), *self.others)
        return f"{self.scheme}://{','.join(_written(host, port) for host, port in hosts)}{self.prefix}"

    @property
    def nodes(self) -> Sequence[Address]:
        """The same collection on each host by itself, in the order in which they are tried."""
        hosts = ((self.host, self.port), *self.others)
        return [replace(self, host=host, port=port, others=()) for host, port in hosts]

    @property
    def dashboard(self) -> str:
        """The address of the collection in the server's dashboard.

        There is no slash after "dashboard": with one, some tabs of the web UI 0.2.13, which Qdrant 1.19 has,
        ask wrong addresses. Of a cluster it is that of the first host.

        >>> Address.parse("http://localhost:6333/reports").dashboard
        'http://localhost:6333/dashboard#/collections/reports'
        """
        return f"{self.nodes[0].url}/dashboard#/collections/{quote(self.collection, safe='')}"

    @property
    def secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme == "https"

    @property
    def local(self) -> bool:
        """Whether the server runs on this machine, so that nothing crosses a network.

        >>> [Address.parse(f"http://{host}/reports").local for host in ("localhost", "[::1]", "qdrant")]
        [True, True, False]
        """
        return all(_is_local(host) for host in (self.host, *(host for host, _ in self.others)))

    def may_be_server_of(self, other: Address) -> bool:
        """Whether two addresses may lead to the same server, as far as their hosts tell.

        >>> here, there, both = map(Address.parse, ("http://a/reports", "http://b/reports", "http://a,b/reports"))
        >>> here.may_be_server_of(there), here.may_be_server_of(both)
        (False, True)
        >>> here.may_be_server_of(Address.parse("http://localhost/reports"))
        True
        """
        hosts, other_hosts = ({node.host for node in each.nodes} for each in (self, other))
        return self.local or other.local or bool(hosts & other_hosts)

    def __str__(self) -> str:
        return f"{self.url}/{self.collection}"


def _with_one_scheme(uri: str) -> str:
    """The address with its scheme only at its beginning, also where each host was written with its own."""
    scheme = uri.partition("://")[0]
    return uri.replace(f",{scheme}://", ",")


def _split_path(uri: str, path: str) -> tuple[str, str]:
    """Return the prefix and the collection.

    Raises:
        SettingsError: The path does not end in the name of a collection.
    """
    start, _, end = path.rstrip("/").rpartition("/")
    collection = unquote(end)
    if not _NAME.fullmatch(collection) or not _PREFIX.fullmatch(start):
        raise SettingsError(
            f"{uri!r} does not end in the name of a collection",
            f"{_EXAMPLE}: letters, digits, dots, hyphens and underscores, 200 at most",
        )
    if start.endswith("/collections"):
        raise SettingsError(
            f"{uri!r} is an address of Qdrant's API, not of an index", f"leave out /collections, {_EXAMPLE}"
        )
    return start, collection


def _host_and_port(uri: str, scheme: str, text: str, default_port: int) -> tuple[str, int]:
    """Read the host and the port of one machine.

    Raises:
        SettingsError: They cannot be read.
    """
    try:
        parts = urlsplit(f"//{text}")
        port = default_port if parts.port is None else parts.port
    except ValueError as error:
        raise SettingsError(f"the address of the index cannot be read: {error}", _EXAMPLE) from None
    host = parts.hostname or ""
    if scheme not in ("http", "https") or not _HOST.fullmatch(host):
        raise SettingsError(f"{uri!r} is not an address with http or https", _EXAMPLE)
    return host, port


def _written(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
