"""What a server may do, and its limits."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from docrag.errors import IndexNotFound, SettingsError
from docrag.location.resolve import existing_folder, local_folder, name_of
from docrag.settings import Settings

MIB = 1024 * 1024
MIN_KEY = 16
"""Length of a key in characters: too long to be guessed over a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """Settings of a server, fixed while it runs.

    Raises:
        SettingsError: Other machines could reach the server and no key is set, the key is too short, or
            uploads are allowed and there is no folder for them.
    """

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8000
    api_key: str = ""
    """Key that every request must bring; empty for none, if only this machine can reach the server."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names, without port, under which the server is reached besides its addresses."""
    allow_ingest: bool = False
    """Whether documents can be added and removed."""
    folder: Path | None = None
    """Folder for the files beside the index: uploaded documents are kept in folder/uploads."""
    source: str = "docrag"
    """Name of the index in traces and in the addresses of its page images."""
    other_pages: tuple[tuple[str, Path], ...] = ()
    """Other indexes whose page images are shown too: the name of each, and its folder on this machine."""
    max_body_bytes: int = 24 * MIB
    """Size of a request that is not an upload; a search may bring an image."""
    max_upload_bytes: int = 512 * MIB
    """Size of an upload, all files together."""
    max_files: int = 50
    """Files of an upload."""
    max_pages: int = 5000
    """Pages of an uploaded document."""
    max_waiting_jobs: int = 16
    """Uploads that may wait to be ingested."""
    body_timeout: float = 30.0
    """Seconds within which the body of a request must arrive."""
    upload_timeout: float = 900.0
    """Seconds within which an upload must arrive."""
    server_timeout: float = 30.0
    """Seconds for which a request waits for a Qdrant server that holds the index."""
    trace_queries: bool = False
    """Whether traces hold the text of queries."""

    def __post_init__(self) -> None:
        if self.api_key and len(self.api_key) < MIN_KEY:
            hint = "make one with python3 -c 'import secrets; print(secrets.token_urlsafe())'"
            raise SettingsError(f"the key is shorter than {MIN_KEY} characters", hint)
        if not self.api_key and not self.loopback:
            hint = "set DOCRAG_SERVE_KEY, or keep --host 127.0.0.1"
            raise SettingsError(f"on host {self.host}, others could read all documents without a key", hint)
        if self.allow_ingest and self.folder is None:
            raise SettingsError("there is no folder for uploads", "give ServeSettings a folder")

    @classmethod
    def for_index(cls, settings: Settings, pages_of: Sequence[str] = (), **values: Any) -> Self:
        """The settings of a server over the index that docrag's settings name.

        Args:
            settings: Say where the index is.
            pages_of: Addresses of other indexes whose page images are shown too.
            values: All fields but folder, source, server_timeout and other_pages.

        Raises:
            SettingsError: As for the class, or an index has an address that is not valid.
            IndexNotFound: Nothing of another index is on this machine.
        """
        return cls(
            folder=local_folder(settings),
            source=name_of(settings),
            server_timeout=settings.server_timeout,
            other_pages=tuple(_other_pages(settings, uri) for uri in pages_of),
            **values,
        )

    @classmethod
    def from_environment(cls, settings: Settings) -> Self:
        """The settings of a server that uvicorn or gunicorn runs, from the variables DOCRAG_SERVE_*.

        Args:
            settings: Say where the index is.

        Raises:
            SettingsError: As for `for_index`, or a variable has a value that cannot be used.
        """
        try:
            variables = _ServeVariables()
        except ValidationError as error:
            first = error.errors()[0]
            name = f"DOCRAG_SERVE_{str(first['loc'][0]).upper()}"
            raise SettingsError(f"{name}: {first['msg']}", f"correct {name}") from None
        return cls.for_index(
            settings,
            pages_of=_parts(variables.pages_of),
            host=variables.host,
            api_key=variables.key.get_secret_value(),
            allowed_hosts=_parts(variables.allow_host),
            allow_ingest=variables.allow_ingest,
        )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def uploads(self) -> Path:
        """Where uploaded documents are kept."""
        assert self.folder is not None, "uploads are allowed with a folder only"
        return self.folder / "uploads"


class _ServeVariables(BaseSettings):
    """Variables that take the place of the options of `docrag serve`."""

    model_config = SettingsConfigDict(env_prefix="DOCRAG_SERVE_")

    host: str = "127.0.0.1"
    key: SecretStr = SecretStr("")
    allow_host: str = ""
    """Host names, separated by commas."""
    allow_ingest: bool = False
    pages_of: str = ""
    """Addresses of other indexes, separated by commas."""


def _parts(text: str) -> tuple[str, ...]:
    """The parts of a text with commas, without those that are empty."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _other_pages(settings: Settings, uri: str) -> tuple[str, Path]:
    """The name of another index, and its folder on this machine.

    Raises:
        IndexNotFound: There is no such folder.
    """
    other = settings.model_copy(update={"index": uri})
    folder = existing_folder(other)
    if not folder.is_dir():
        raise IndexNotFound(
            f"no page images of {uri} are on this machine: there is no {folder}",
            "ingest its documents here, or start docrag serve on the machine that has done so",
        )
    return name_of(other), folder


def is_loopback(host: str) -> bool:
    """Whether a name or address stands for this machine itself and cannot be reached from another one.

    >>> is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False
