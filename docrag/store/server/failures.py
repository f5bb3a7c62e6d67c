"""One description of what went wrong with a request, whichever of its many errors the client raised."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import grpc  # type: ignore[import-untyped]
import httpx
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from docrag.store.server.refusals import REQUEST_OVER_RATE, TOO_OLD, refusal_hint

Error = TypeVar("Error", bound=BaseException)

BAD_REQUEST = 400
FORBIDDEN = 403
NOT_FOUND = 404
NOT_SUPPORTED = 405
TIMED_OUT = 408
TOO_LARGE = 413
BUSY = 429
INSUFFICIENT_STORAGE = 507

# Reasons that are no HTTP status: no answer, an answer that is not Qdrant's, and a certificate that is not
# trusted, made for another host name or out of date, or a server that does not speak TLS.
NO_ANSWER = 0
NOT_QDRANT = 1
UNTRUSTED = 2
WRONG_NAME = 3
EXPIRED = 4
NO_TLS = 5

_MAX_DETAIL = 300
"""Characters of the server's error message that docrag repeats; some servers repeat the whole request."""

HINTS: Mapping[int, str] = {
    NO_ANSWER: "is Qdrant running there, and are the port and http or https right? Try the address with curl",
    NOT_QDRANT: "is it Qdrant that answers at this address? Its usual port is 6333",
    UNTRUSTED: "if it is your server, name its certificate or its authority's (PEM): DOCRAG_CA_FILE=FILE",
    WRONG_NAME: "write the address with the name that the certificate was made for",
    EXPIRED: "renew the server's certificate, or set the clock of this machine",
    NO_TLS: "if the server speaks plain http there, write http:// in the address",
    BAD_REQUEST: "the server does not accept this request; its log may say more",
    401: "give the server's key as DOCRAG_API_KEY",
    FORBIDDEN: "the key does not allow this: give one that does as DOCRAG_API_KEY",
    NOT_FOUND: "check the address and the name of the collection",
    NOT_SUPPORTED: TOO_OLD,
    TOO_LARGE: "use gRPC, which has no such limit (DOCRAG_GRPC_PORT), or raise the limit: "
    "service.max_request_size_mb of the server, or that of a proxy before it",
    BUSY: "the server is overloaded, or a limit of its own is reached: send fewer requests, or try later",
    INSUFFICIENT_STORAGE: "free some space on the server's disk, and run the same again",
}
"""What to try, by HTTP status or reason."""

_HINTS_BY_WORDS: Mapping[str, str] = {
    "too many open files": "allow the server more open files, for example with ulimit -n 65535",
    "out of memory": "give the server more memory, or close collections that nobody needs",
    "recovery mode": "the server is in recovery mode: see its log, mend what it names and start it again",
    "read-only": "the server's disk is mounted read-only, or failing: see the server's log",
    "wal error": "the server cannot write its log of changes: see its own log, and check its disk",
    "replica": "not enough replicas are active: docrag status tells which, start their machines again",
}
"""What to try when the server answers with 500 and these words, in lower case."""

_FULL = re.compile(r"no space left on device|disk quota exceeded|os error 28\b", re.IGNORECASE)
"""How Qdrant says, with status 500, that the disk is full."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request failed."""

    status: int
    """An HTTP status, also for a gRPC error; or one of the reasons above, such as NO_ANSWER."""
    message: str
    retry_after: float | None = None
    """Seconds to wait before the next request, if the server named them."""

    @classmethod
    def no_time(cls) -> Self:
        """The time for a request is over."""
        return cls(NO_ANSWER, "no answer in time")

    @property
    def answered(self) -> bool:
        """Whether the server answered."""
        return self.status >= 100

    @property
    def tls_failed(self) -> bool:
        """Whether an encrypted connection is impossible, so that retries are of no use."""
        return self.status in (UNTRUSTED, WRONG_NAME, EXPIRED, NO_TLS)

    @property
    def temporary(self) -> bool:
        """Whether the same request may succeed later."""
        if REQUEST_OVER_RATE in self.message:
            return False
        return self.status in (NO_ANSWER, BUSY) or self.machine_failed

    @property
    def machine_failed(self) -> bool:
        """Whether another machine of the cluster might answer better."""
        return self.status in (NO_ANSWER, TIMED_OUT) or self.status >= 500

    @property
    def disk_full(self) -> bool:
        """Whether the server's disk is full, which no retry changes."""
        is_full = self.status >= 500 and _FULL.search(self.message) is not None
        return is_full or self.status == INSUFFICIENT_STORAGE

    @property
    def hint(self) -> str:
        """What to try; empty if there is no advice."""
        if self.disk_full:
            return HINTS[INSUFFICIENT_STORAGE]
        if self.status >= 500:
            said = self.message.lower()
            for words, hint in _HINTS_BY_WORDS.items():
                if words in said:
                    return hint
        default = "see the server's log, and try again later" if self.status >= 500 else ""
        known = refusal_hint(self.message) if self.answered else ""
        return known or HINTS.get(self.status, default)


def failure_of(error: Exception) -> Failure:
    """Describe an error that is one of `CLIENT_ERRORS`."""
    read = next(read for kind, read in _READERS.items() if isinstance(error, kind))
    return read(error)


def _read_response(error: UnexpectedResponse) -> Failure:
    message = _error_message(error.content.decode(errors="replace")) or error.reason_phrase
    status = error.status_code or NOT_QDRANT
    if status == 400 and "larger than allowed" in message:  # Qdrant itself answers so instead of 413
        status = TOO_LARGE
    return Failure(status, message)


def _error_message(body: str) -> str:
    """Return the message in a response: Qdrant sends {"status": {"error": "..."}}, a proxy HTML."""
    with suppress(ValueError, TypeError, KeyError):
        body = json.loads(body)["status"]["error"]
    return shorten(str(body))


def shorten(text: str) -> str:
    """Return a text as one line of at most a few hundred characters."""
    line = " ".join(text.split())
    return line if len(line) <= _MAX_DETAIL else f"{line[:_MAX_DETAIL]}…"


def _read_transport_error(error: ResponseHandlingException) -> Failure:
    source = error.source
    tls_error = _find_cause(source, ssl.SSLError)
    if tls_error:
        return _read_tls_error(tls_error)
    if isinstance(source, httpx.ConnectTimeout):
        return Failure(NO_ANSWER, "no connection")
    if isinstance(source, httpx.TimeoutException):
        return Failure(NO_ANSWER, "no answer in time")
    message = _plain_words(shorten(str(source))) or type(source).__name__
    return Failure(NO_ANSWER if isinstance(source, httpx.TransportError) else NOT_QDRANT, message)


_VERIFY_CODES: Mapping[int, int] = {9: EXPIRED, 10: EXPIRED, 62: WRONG_NAME, 64: WRONG_NAME}
"""By OpenSSL's X509_V_ERR_*: not yet valid, expired, host name mismatch, IP address mismatch."""


def _read_tls_error(error: ssl.SSLError) -> Failure:
    if isinstance(error, ssl.SSLCertVerificationError):
        message = f"its certificate is not trusted: {error.verify_message}"
        return Failure(_VERIFY_CODES.get(error.verify_code, UNTRUSTED), message)
    if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
        return Failure(NO_TLS, "no TLS there")
    return Failure(NO_ANSWER, shorten(str(error)))


def _find_cause(error: BaseException | None, kind: type[Error]) -> Error | None:
    """Return the first error of a kind in the chain of causes."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error


_PLAIN_WORDS: Mapping[str, str] = {
    "connection refused": "the connection was refused",
    "no route to host": "there is no way to the host",
    "network is unreachable": "there is no way to the host",
    "host is unreachable": "there is no way to the host",
    "name or service not known": "the name of the host is not known",
    "name resolution": "the name of the host is not known",
    "dns resolution failed": "the name of the host is not known",
    "domain name not found": "the name of the host is not known",
    "connection timed out": "no connection",
    "timeout occurred": "no connection",
    "failed to connect": "no connection",
    "handshak": "no encrypted connection",
    "socket closed": "the connection was lost",
    "connection reset": "the connection was lost",
    "broken pipe": "the connection was lost",
    "goaway": "the connection was lost",
    "server disconnected": "the connection was lost",
    "peer closed connection": "the connection was lost",
    "keepalive": "the connection was lost",
}
"""What the libraries of gRPC and REST say about connections, in lower case, and plain words for it: their
texts name inner addresses and numbers of system errors."""


def _plain_words(text: str) -> str:
    """Return what a library says about a connection in plain words; other texts are left as they are."""
    lower = text.lower()
    return next((plain for words, plain in _PLAIN_WORDS.items() if words in lower), text)


_CODES: Mapping[Any, int] = {
    grpc.StatusCode.UNAVAILABLE: NO_ANSWER,
    grpc.StatusCode.DEADLINE_EXCEEDED: NO_ANSWER,
    grpc.StatusCode.RESOURCE_EXHAUSTED: BUSY,
    grpc.StatusCode.OUT_OF_RANGE: TOO_LARGE,  # tonic, Qdrant's gRPC library, refuses long messages so
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNIMPLEMENTED: NOT_SUPPORTED,
}


def _read_grpc_error(error: Any) -> Failure:
    message = shorten(error.details() or str(error.code()))
    if "larger than max" in message:  # from a proxy that speaks gRPC, as RESOURCE_EXHAUSTED
        return Failure(TOO_LARGE, message)
    if message.startswith("Insufficient storage"):  # shares RESOURCE_EXHAUSTED with rate limits
        return Failure(INSUFFICIENT_STORAGE, message)
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Failure.no_time()
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        message = _plain_words(message)
    return Failure(_CODES.get(error.code(), 500), message)


def _read_client_error(error: ValueError) -> Failure:
    """The client itself refused the request; its local mode reports a missing collection so."""
    message = shorten(str(error))
    return Failure(NOT_FOUND if message.endswith("not found") else 400, message)


_READERS: Mapping[type[Exception], Callable[[Any], Failure]] = {
    ResourceExhaustedResponse: lambda error: Failure(BUSY, error.message, float(error.retry_after_s)),
    QdrantException: lambda error: Failure(BUSY, str(error)),  # a Retry-After that is a date
    UnexpectedResponse: _read_response,
    ResponseHandlingException: _read_transport_error,
    grpc.RpcError: _read_grpc_error,
    ValueError: _read_client_error,
}
CLIENT_ERRORS = tuple(_READERS)
"""The errors that the client raises when a request fails."""
