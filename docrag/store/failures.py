"""What went wrong between docrag and a Qdrant server, out of the many errors that its client raises."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc  # type: ignore[import-untyped]
import httpx
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

BUSY = 429
TOO_LARGE = 413
NOT_FOUND = 404
NO_ANSWER = 0
NONSENSE = 1
_DETAIL = 300
"""Characters of the server's own words that an error repeats; some answer with the whole request."""

HINTS: Mapping[int, str] = {
    NO_ANSWER: "is Qdrant running there, and the port right? curl the address to see",
    NONSENSE: "is it Qdrant that answers at this address? 6333 is its usual port",
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
    """Of HTTP, also where gRPC said it; NO_ANSWER where none came, NONSENSE where it was none of Qdrant's."""
    words: str
    asked: float | None = None
    """Seconds that the server wants to be left alone."""

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
    if isinstance(source, httpx.ConnectTimeout):
        return Failure(NO_ANSWER, "no connection")
    if isinstance(source, httpx.TimeoutException):
        return Failure(NO_ANSWER, "no answer in time")
    words = shorten(str(source)) or type(source).__name__
    return Failure(NO_ANSWER if isinstance(source, httpx.TransportError) else NONSENSE, words)


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
