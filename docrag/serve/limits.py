"""How much of a request is taken, how long it may take to come, and in which letters."""

from __future__ import annotations

import time

import anyio
from python_multipart.multipart import parse_options_header
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from docrag.serve.errors import RequestRefused, error_answer
from docrag.serve.settings import MIB, ServeSettings

UPLOAD = "/v1/ingest"
_CLOSE = {"Connection": "close"}
_LETTERS = frozenset({b"utf-8", b"utf8", b"us-ascii"})
"""Of forms. The framework reads them in any that Python knows by name: some fail, some give half letters."""


class BodyLimits:
    """ASGI middleware: a body that is too large or too slow is refused while it comes, odd letters before.

    Args:
        app: Gets the rest.
        settings: The limits.
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        settings = self._settings
        upload = scope["path"].rstrip("/") == UPLOAD and settings.allow_ingest
        most = settings.most_upload if upload else settings.most_body
        seconds = settings.upload_seconds if upload else settings.body_seconds
        refused = too_large(most) if _declared(scope) > most else _unread(scope)
        if refused:
            detail, hint = str(refused.detail), refused.hint
            await error_answer(refused.status_code, detail, hint, refused.headers)(scope, receive, send)
            return
        await self._app(scope, _limited(receive, most, seconds), send)


def too_large(most: int) -> RequestRefused:
    """Why a body of more than so many bytes is not taken."""
    return RequestRefused(413, f"the request is larger than {most // MIB} MiB", "send less at a time", _CLOSE)


def _limited(receive: Receive, most: int, seconds: float) -> Receive:
    received, ended = 0, False
    deadline = time.monotonic() + seconds

    async def limited() -> Message:
        nonlocal received, ended
        if ended:  # what comes now only tells that the client has gone
            return await receive()
        try:
            with anyio.fail_after(max(0.0, deadline - time.monotonic())):
                message = await receive()
        except TimeoutError:
            ended = True
            hint = "send it faster, or less"
            raise RequestRefused(
                408, f"the request did not come within {seconds:g} s", hint, _CLOSE
            ) from None
        received += len(message.get("body", b""))
        ended = not message.get("more_body", False)
        if received > most:
            ended = True
            raise too_large(most)
        return message

    return limited


def _unread(scope: Scope) -> RequestRefused | None:
    """Why a form is not read; None where it is."""
    kind, told = parse_options_header(_header(scope, b"content-type"))
    if kind != b"multipart/form-data" or told.get(b"charset", b"utf-8").lower() in _LETTERS:
        return None
    return RequestRefused(415, "the form is not in UTF-8", "send it in UTF-8, as browsers do", _CLOSE)


def _declared(scope: Scope) -> int:
    """The length that a request names; 0 for none, and for nonsense, which the server refuses itself."""
    value = _header(scope, b"content-length")
    return int(value[:18]) if value.isdigit() else 0


def _header(scope: Scope, wanted: bytes) -> bytes:
    return next((value for name, value in scope["headers"] if name == wanted), b"")
