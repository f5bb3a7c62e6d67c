"""The address of a collection on a Qdrant server: http(s)://host:port/collection."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self
from urllib.parse import quote, unquote, urlsplit

from docrag.errors import SettingsError

REST_PORT = 6333
GRPC_PORT = 6334

_HOST = re.compile(r"[\w.:-]+")
_NAME = re.compile(r"[^\W_][\w.-]{0,199}")
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
    """

    scheme: str
    host: str
    port: int
    collection: str

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Parse an address; the default port is 6333, as in Qdrant's own clients.

        Raises:
            SettingsError: It is not such an address, or it holds a user name, a password or a query.
        """
        try:
            parts = urlsplit(uri.strip())
            port = REST_PORT if parts.port is None else parts.port
        except ValueError as error:
            raise SettingsError(f"the address of the index cannot be read: {error}", _EXAMPLE) from None
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise SettingsError(
                "the address of an index must hold no user, password or query",
                f"{_EXAMPLE}; give the key as DOCRAG_API_KEY",
            )
        host = parts.hostname or ""
        if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host):
            raise SettingsError(f"{uri!r} is not an address with http or https", _EXAMPLE)
        collection = unquote(parts.path).strip("/")
        if not _NAME.fullmatch(collection):
            raise SettingsError(
                f"{uri!r} does not end in the name of a collection",
                f"{_EXAMPLE}: letters, digits, dots, hyphens and underscores, 200 at most",
            )
        return cls(parts.scheme, host, port, collection)

    @property
    def url(self) -> str:
        """The address of the server, without the collection."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def dashboard(self) -> str:
        """The address of the collection in the server's dashboard.

        There is no slash after "dashboard": with one, some tabs of the web UI 0.2.13, which Qdrant 1.19 has,
        ask wrong addresses.

        >>> Address.parse("http://localhost:6333/reports").dashboard
        'http://localhost:6333/dashboard#/collections/reports'
        """
        return f"{self.url}/dashboard#/collections/{quote(self.collection, safe='')}"

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
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower().rstrip(".") == "localhost"

    def __str__(self) -> str:
        return f"{self.url}/{self.collection}"
