"""What a server may do, and how much it takes."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from docrag.errors import SettingsError

MIB = 1024 * 1024
SHORTEST_KEY = 16
"""Characters of a key: nobody guesses as many over a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """Fixed while a server runs.

    Raises:
        SettingsError: Others could reach it and no key is set, a key is short, or uploads have no place.
    """

    host: str = "127.0.0.1"
    """Address on which it listens."""
    port: int = 8000
    api_key: str = ""
    """What every request must bring; empty for none, which is for this machine alone."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, without port, under which it is reached beside its addresses."""
    allow_ingest: bool = False
    """Whether documents can be added and removed."""
    folder: Path | None = None
    """Where files beside the index stand: uploaded documents in folder/uploads."""
    source: str = "docrag"
    """What the index is called in traces."""
    most_body: int = 24 * MIB
    """Bytes of a request that is no upload; a search may bring an image."""
    most_upload: int = 512 * MIB
    """Bytes of one upload, all files together."""
    most_files: int = 50
    """Files of one upload."""
    most_pages: int = 5000
    """Pages of one uploaded document."""
    most_jobs: int = 16
    """Uploads that may wait for their turn."""
    body_seconds: float = 30.0
    """In which the body of a request must have come."""
    upload_seconds: float = 900.0
    """In which an upload must have come."""
    trace_queries: bool = False
    """Whether traces hold what was asked."""

    def __post_init__(self) -> None:
        if self.api_key and len(self.api_key) < SHORTEST_KEY:
            hint = "python3 -c 'import secrets; print(secrets.token_urlsafe())' makes one"
            raise SettingsError(f"the key is shorter than {SHORTEST_KEY} characters", hint)
        if not self.api_key and not self.loopback:
            hint = "set DOCRAG_SERVE_KEY, or keep --host 127.0.0.1"
            raise SettingsError(f"host {self.host}: others could read all documents there", hint)
        if self.allow_ingest and self.folder is None:
            raise SettingsError("uploads have no place", "give ServeSettings a folder")

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host)

    @property
    def uploads(self) -> Path:
        """Where uploaded documents are kept."""
        assert self.folder is not None, "uploads are allowed with a folder only"
        return self.folder / "uploads"


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own, which no other machine reaches.

    >>> is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False
