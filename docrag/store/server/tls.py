"""TLS: which certificates are trusted on an encrypted connection, for REST and gRPC alike."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from docrag.errors import SettingsError

_HINT = "name a file of certificates in PEM format: DOCRAG_CA_FILE=FILE"


@dataclass(frozen=True, slots=True)
class TrustedCertificates:
    """Certificates of the authorities, or of the server itself, that are trusted."""

    context: ssl.SSLContext | None = None
    """For httpx; None keeps its own defaults."""
    pem: bytes | None = None
    """The same certificates for gRPC; None keeps its defaults."""

    @classmethod
    def read(cls, ca_file: str = "") -> Self:
        """Trust the certificates in a file and no others.

        Without a file, the one that SSL_CERT_FILE names is used, else the defaults. httpx reads that variable
        by itself, gRPC does not.

        Raises:
            SettingsError: The file cannot be read, or holds no certificate.
        """
        file = ca_file or os.environ.get("SSL_CERT_FILE", "")
        if not file:
            return cls()
        path = Path(file).expanduser()
        try:
            return cls(ssl.create_default_context(cafile=path), path.read_bytes())
        except ssl.SSLError as error:
            raise SettingsError(f"{file} holds no certificate", _HINT) from error
        except OSError as error:
            raise SettingsError(f"cannot read {file}: {error.strerror}", _HINT) from error

    @property
    def rest_options(self) -> Mapping[str, Any]:
        """Arguments for httpx."""
        return {"verify": self.context} if self.context else {}

    @property
    def grpc_options(self) -> dict[str, Any]:
        """Options for the client's gRPC channels."""
        return {"root_certificates": self.pem} if self.pem else {}
