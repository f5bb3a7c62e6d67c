"""Whom to trust on an encrypted connection: the usual authorities or those in a file, by REST and gRPC."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from docrag.errors import SettingsError

_HINT = "name a file of certificates in PEM form: DOCRAG_CA_FILE=FILE"


@dataclass(frozen=True, slots=True)
class Trust:
    """Certificates of authorities, or a server's own."""

    context: ssl.SSLContext | None = None
    """For httpx; None takes what it trusts by itself."""
    roots: bytes | None = None
    """The same for gRPC, as PEM."""

    @classmethod
    def read(cls, ca_file: str = "") -> Self:
        """Trust what is in a file and nothing else; without one, what SSL_CERT_FILE names, else the usual.

        httpx knows that variable by itself, gRPC does not.

        Raises:
            SettingsError: The file cannot be read, or holds no certificate.
        """
        file = ca_file or os.environ.get("SSL_CERT_FILE", "")
        if not file:
            return cls()
        try:
            context = ssl.create_default_context(cafile=Path(file).expanduser())
            return cls(context, Path(file).expanduser().read_bytes())
        except ssl.SSLError as error:
            raise SettingsError(f"{file} holds no certificate", _HINT) from error
        except OSError as error:
            raise SettingsError(f"cannot read {file}: {error.strerror}", _HINT) from error

    @property
    def for_rest(self) -> Mapping[str, Any]:
        """Arguments of httpx."""
        return {"verify": self.context} if self.context else {}

    @property
    def for_grpc(self) -> dict[str, Any]:
        """Options of the client's gRPC channels."""
        return {"root_certificates": self.roots} if self.roots else {}
