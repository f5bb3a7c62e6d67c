"""What went wrong between docrag and a Qdrant server, out of the many errors that its client raises."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc  # type: ignore[import-untyped]
import httpx
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

Error = TypeVar("Error", bound=BaseException)

BUSY = 429
TOO_LARGE = 413
NOT_FOUND = 404
NO_ANSWER = 0
NONSENSE = 1
UNTRUSTED, WRONG_NAME, EXPIRED, NO_TLS = 2, 3, 4, 5
"""What can be wrong with a server's certificate, and a server that shows none."""
_DETAIL = 300
"""Characters of the server's own words that an error repeats; some answer with the whole request."""

HINTS: Mapping[int, str] = {
    NO_ANSWER: "is Qdrant running there, the port right, and http or https? curl the address to see",
    NONSENSE: "is it Qdrant that answers at this address? 6333 is its usual port",
    UNTRUSTED: "if it is yours, name its certificate or that of its authority (PEM): DOCRAG_CA_FILE=FILE",
    WRONG_NAME: "write the address with the name that the certificate was made for",
    EXPIRED: "renew the server's certificate, or set the clock of this machine",
    NO_TLS: "does the server speak plain http there? then write http:// in the address",
    400: "the server's version may be too old: docrag is tested with 1.19 and later",
    401: "give the server's key as DOCRAG_API_KEY",
    403: "the key may not do this: give one that may write as DOCRAG_API_KEY",
    NOT_FOUND: "check the address and the name of the collection",
    TOO_LARGE: "raise service.max_request_size_mb of the server, or keep fewer patches",
    BUSY: "the server, or a limit of its own, is at its end: ask for less at once, or later",
    507: "the server's disk is full: free some space there",
}
"""What to try, by HTTP status."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request failed."""

    status: int
    """Of HTTP, also where gRPC said it; else one of the reasons above, such as NO_ANSWER."""
    words: str
    asked: float | None = None
    """Seconds that the server wants to be left alone."""

    @property
    def answered(self) -> bool:
        """Whether the server said it."""
        return self.status >= 100

    @property
    def untrusted(self) -> bool:
        """Whether no encrypted connection came about, and none would."""
        return self.status in (UNTRUSTED, WRONG_NAME, EXPIRED, NO_TLS)

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in (NO_ANSWER, BUSY) or self.status >= 500

    @property
    def hint(self) -> str:
        """What to try."""
        return HINTS.get(self.status, "see the server's log; try again later" if self.status >= 500 else "")


def failure_of(error: Exception) -> Failure:
    """Read an error that is one of `KINDS`."""
    read = next(read for kind, read in _READERS.items() if isinstance(error, kind))
    return read(error)


def _of_response(error: UnexpectedResponse) -> Failure:
    words = _words(error.content.decode(errors="replace")) or error.reason_phrase
    status = error.status_code or NONSENSE
    if status == 400 and "larger than allowed" in words:  # how Qdrant itself says 413
        status = TOO_LARGE
    return Failure(status, words)


def _words(body: str) -> str:
    """The server's words: Qdrant says {"status": {"error": "..."}}, a proxy answers in HTML."""
    with suppress(ValueError, TypeError, KeyError):
        body = json.loads(body)["status"]["error"]
    return shorten(str(body))


def shorten(text: str) -> str:
    """One line of a few hundred characters at most."""
    line = " ".join(text.split())
    return line if len(line) <= _DETAIL else f"{line[:_DETAIL]}…"


def _of_transport(error: ResponseHandlingException) -> Failure:
    source = error.source
    if refusal := _cause(source, ssl.SSLError):
        return _of_tls(refusal)
    if isinstance(source, httpx.ConnectTimeout):
        return Failure(NO_ANSWER, "no connection")
    if isinstance(source, httpx.TimeoutException):
        return Failure(NO_ANSWER, "no answer in time")
    words = shorten(str(source)) or type(source).__name__
    return Failure(NO_ANSWER if isinstance(source, httpx.TransportError) else NONSENSE, words)


_VERIFY: Mapping[int, int] = {9: EXPIRED, 10: EXPIRED, 62: WRONG_NAME, 64: WRONG_NAME}
"""By OpenSSL's X509_V_ERR_*: not yet valid, expired, another host name, another IP address."""


def _of_tls(error: ssl.SSLError) -> Failure:
    if isinstance(error, ssl.SSLCertVerificationError):
        words = f"its certificate is not trusted: {error.verify_message}"
        return Failure(_VERIFY.get(error.verify_code, UNTRUSTED), words)
    if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
        return Failure(NO_TLS, "no TLS there")
    return Failure(NO_ANSWER, shorten(str(error)))


def _cause(error: BaseException | None, kind: type[Error]) -> Error | None:
    """The error of a kind that led to another one."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error


_CODES: Mapping[Any, int] = {
    grpc.StatusCode.UNAVAILABLE: NO_ANSWER,
    grpc.StatusCode.DEADLINE_EXCEEDED: NO_ANSWER,
    grpc.StatusCode.RESOURCE_EXHAUSTED: BUSY,
    grpc.StatusCode.OUT_OF_RANGE: TOO_LARGE,  # how tonic, Qdrant's library, refuses a long message
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNIMPLEMENTED: 400,
}


def _of_grpc(error: Any) -> Failure:
    words = shorten(error.details() or str(error.code()))
    if "larger than max" in words:  # a proxy that speaks gRPC says it so, as RESOURCE_EXHAUSTED
        return Failure(TOO_LARGE, words)
    return Failure(_CODES.get(error.code(), 500), words)


def _of_local_mode(error: ValueError) -> Failure:
    words = shorten(str(error))
    return Failure(NOT_FOUND if words.endswith("not found") else 400, words)


_READERS: Mapping[type[Exception], Callable[[Any], Failure]] = {
    ResourceExhaustedResponse: lambda error: Failure(BUSY, error.message, float(error.retry_after_s)),
    QdrantException: lambda error: Failure(BUSY, str(error)),  # a Retry-After that is a date
    UnexpectedResponse: _of_response,
    ResponseHandlingException: _of_transport,
    grpc.RpcError: _of_grpc,
    ValueError: _of_local_mode,
}
KINDS = tuple(_READERS)
"""The errors that the client raises for what the server or the way to it did."""
