"""Errors as responses: one JSON shape, one status for each kind of error, and never a traceback."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from docrag.errors import (
    DocragError,
    DocumentError,
    IndexInUse,
    IndexNotFound,
    IndexReplaced,
    ModelError,
    NotFound,
    RemoteError,
    ServerRefused,
    ServerUnreachable,
    SettingsError,
    StorageFull,
    StoreError,
    UnsupportedFile,
)

logger = logging.getLogger(__name__)

STATUS: Mapping[type[DocragError], int] = {
    DocragError: 500,
    SettingsError: 400,
    ModelError: 503,
    RemoteError: 502,
    DocumentError: 422,
    NotFound: 404,
    UnsupportedFile: 415,
    IndexInUse: 503,
    IndexNotFound: 503,
    IndexReplaced: 503,
    StorageFull: 507,
    ServerUnreachable: 503,
    ServerRefused: 502,
}
"""The HTTP status of each kind of error; a kind that is missing has the status of its nearest base class."""

INTERNAL_ERROR = "docrag failed"
INTERNAL_ERROR_HINT = "see the server's log"
RETRY_LATER: Mapping[str, str] = {"Retry-After": "10"}
"""Headers of a response that says that the Qdrant server does not answer; in seconds."""
SERVER_AWAY = "the Qdrant server that holds the index does not answer"
SERVER_AWAY_HINT = "try again in a moment"
FRAMEWORK_HINTS: Mapping[int, str] = {
    400: "see /openapi.json",
    405: "see /openapi.json",
}
"""Hints for errors that the framework raises, by status."""


class RequestRefused(HTTPException):
    """A request that the server refuses.

    It is not a `DocragError`, because FastAPI lets only its own exceptions pass while it reads a body.

    Args:
        status: HTTP status of the response.
        message: What is wrong, in one line.
        hint: What to do about it.
        headers: Headers of the response.
    """

    def __init__(
        self, status: int, message: str, hint: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, message, headers)
        self.hint = hint

    def response(self) -> Response:
        """The response that says so, for middleware that refuses a request before any route sees it."""
        return error_response(self.status_code, str(self.detail), self.hint, self.headers)


def http_status(error: DocragError) -> int:
    """The HTTP status for an error.

    >>> from docrag.errors import QueryError
    >>> http_status(QueryError("the query is empty"))
    400
    """
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


class PublicError(NamedTuple):
    """What clients may know of an error; the server's log has all of it."""

    message: str
    hint: str


def for_clients(error: DocragError) -> PublicError:
    """An error without the address of the Qdrant server, which is often inside a private network.

    >>> from docrag.errors import ServerRefused
    >>> for_clients(ServerRefused("http://10.0.0.3:6333 answered 403: forbidden")).message
    'the Qdrant server answered 403: forbidden'
    """
    if isinstance(error, ServerUnreachable):
        return PublicError(SERVER_AWAY, SERVER_AWAY_HINT)
    if isinstance(error, StoreError):
        return PublicError(*(_ADDRESS.sub("the Qdrant server", text) for text in (error.message, error.hint)))
    return PublicError(error.message, error.hint)


_ADDRESS = re.compile(r"https?://\S*[\w\]]")


def error_headers(error: DocragError) -> Mapping[str, str]:
    """The headers of a response that says an error."""
    return RETRY_LATER if isinstance(error, ServerUnreachable) else {}


def add_error_handlers(app: FastAPI) -> None:
    """Make an application report every error in the same shape."""
    app.add_exception_handler(DocragError, _handle_docrag_error)
    app.add_exception_handler(HTTPException, _handle_http_exception)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)


def error_response(
    status: int, message: str, hint: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """An error as JSON.

    Args:
        status: HTTP status of the response.
        message: What is wrong, in one line.
        hint: What to do about it.
        headers: Headers of the response.
    """
    return JSONResponse({"error": {"message": message, "hint": hint}}, status, headers=dict(headers or {}))


def logged_status(request: Request, error: DocragError) -> int:
    """The HTTP status for an error; errors that are the server's fault (500 and above) are logged."""
    status = http_status(error)
    if status >= 500:
        logger.error("%s %a: %s", request.method, request.scope["path"], error)
    return status


def _handle_docrag_error(request: Request, error: Any) -> Response:
    status = logged_status(request, error)
    return error_response(status, *for_clients(error), error_headers(error))


def _handle_http_exception(request: Request, error: Any) -> Response:
    hint = getattr(error, "hint", FRAMEWORK_HINTS.get(error.status_code, ""))
    return error_response(error.status_code, str(error.detail), hint, error.headers)


def _handle_validation_error(request: Request, error: Any) -> Response:
    """Names the field that is wrong, but never repeats the value that was sent."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return error_response(422, f"{field}: {first['msg']}", "see /openapi.json")
