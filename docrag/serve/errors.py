"""Errors as answers: one JSON shape, a status for each kind, and never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from docrag.errors import (
    DocragError,
    DocumentError,
    IndexInUse,
    IndexNotFound,
    ModelError,
    NotFound,
    RemoteError,
    ServerRefused,
    ServerUnreachable,
    SettingsError,
    StorageFull,
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
    StorageFull: 507,
    ServerUnreachable: 503,
    ServerRefused: 502,
}
"""The nearest kind counts: a QueryError is a SettingsError."""

FAILED = ("docrag failed", "the server's log says why")
HINTS: Mapping[int, str] = {
    405: "see /openapi.json",
    400: "see /openapi.json",
}
"""For what the framework refuses."""


class RequestRefused(HTTPException):
    """A request that is not answered; FastAPI lets no other exception pass from where it reads bodies.

    Args:
        status: Of HTTP.
        message: What is wrong, in one line.
        hint: What to do about it.
        headers: Of the answer.
    """

    def __init__(
        self, status: int, message: str, hint: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, message, headers)
        self.hint = hint


def status_of(error: DocragError) -> int:
    """The status that an error is answered with.

    >>> from docrag.errors import QueryError
    >>> status_of(QueryError("the query is empty"))
    400
    """
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def answer_errors(app: FastAPI) -> None:
    """Let an application answer every error in the same shape."""
    app.add_exception_handler(DocragError, _docrag)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)


def error_answer(
    status: int, message: str, hint: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """An error as JSON.

    Args:
        status: Of HTTP.
        message: What is wrong, in one line.
        hint: What to do about it.
        headers: Of the answer.
    """
    return JSONResponse({"error": {"message": message, "hint": hint}}, status, headers=dict(headers or {}))


def noted_status(request: Request, error: DocragError) -> int:
    """The status that an error is answered with; where that is the server's fault, its log says why."""
    status = status_of(error)
    if status >= 500:
        logger.error("%s %a: %s", request.method, request.scope["path"], error)
    return status


def _docrag(request: Request, error: Any) -> Response:
    status = noted_status(request, error)
    return error_answer(status, error.message, error.hint)


def _http(request: Request, error: Any) -> Response:
    hint = getattr(error, "hint", HINTS.get(error.status_code, ""))
    return error_answer(error.status_code, str(error.detail), hint, error.headers)


def _invalid(request: Request, error: Any) -> Response:
    """What was sent stands nowhere in the answer."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return error_answer(422, f"{where}: {first['msg']}", "see /openapi.json")
