"""Limits on requests: the size, time and charset of bodies, and the time that a Qdrant server has."""

from __future__ import annotations

import logging
import time

import anyio
from python_multipart.multipart import parse_options_header
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from docrag.common.time_limit import time_limit
from docrag.serve.errors import RequestRefused
from docrag.serve.settings import MIB, ServeSettings

logger = logging.getLogger(__name__)

UPLOAD_PATH = "/v1/ingest"
_CLOSE = {"Connection": "close"}
_CHARSETS = frozenset({b"utf-8", b"utf8", b"us-ascii"})
"""Charsets of forms that are accepted. The framework decodes any that Python knows by name: some of them
raise, and some give lone surrogates."""


class BodyLimits:
    """ASGI middleware that refuses bodies that are too large, too slow or in another charset.

    Args:
        app: The application behind it.
        settings: The limits.
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        settings = self._settings
        is_upload = scope["path"].rstrip("/") == UPLOAD_PATH and settings.allow_ingest
        max_bytes = settings.max_upload_bytes if is_upload else settings.max_body_bytes
        timeout = settings.upload_timeout if is_upload else settings.body_timeout
        refusal = _too_large(max_bytes) if _content_length(scope) > max_bytes else _wrong_charset(scope)
        if refusal:
            logger.info("refused %s %a: %s", scope["method"], scope["path"], refusal.detail)
            await refusal.response()(scope, receive, send)
            return
        await self._app(scope, _limited(receive, max_bytes, timeout), send)


class ServerTimeLimit:
    """ASGI middleware that limits the time for which a request without a body waits for a Qdrant server.

    A request may need several answers of the server, which together take no longer. Requests with a body set
    their limit when it has arrived.

    Args:
        app: The application behind it.
        seconds: From the beginning of the request.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http" and scope["method"] in ("GET", "DELETE"):
            with time_limit(self._seconds):
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _limited(receive: Receive, max_bytes: int, timeout: float) -> Receive:
    """Receive a body, and raise `RequestRefused` once it is too large or too late."""
    received = 0
    ended = False
    deadline = time.monotonic() + timeout

    async def receive_within_limits() -> Message:
        nonlocal received, ended
        if ended:  # the only message that can still come says that the client has disconnected
            return await receive()
        try:
            with anyio.fail_after(max(0.0, deadline - time.monotonic())):
                message = await receive()
        except TimeoutError:
            ended = True
            hint = "send it faster, or send less"
            raise RequestRefused(
                408, f"the request did not arrive within {timeout:g} s", hint, _CLOSE
            ) from None
        received += len(message.get("body", b""))
        ended = not message.get("more_body", False)
        if received > max_bytes:
            ended = True
            raise _too_large(max_bytes)
        return message

    return receive_within_limits


def _too_large(max_bytes: int) -> RequestRefused:
    message = f"the request is larger than {max_bytes // MIB} MiB"
    return RequestRefused(413, message, "send less at a time", _CLOSE)


def _wrong_charset(scope: Scope) -> RequestRefused | None:
    """The refusal of a form in a charset that is not accepted; None for any other request."""
    kind, parameters = parse_options_header(_header(scope, b"content-type"))
    charset = parameters.get(b"charset", b"utf-8").lower()
    if kind != b"multipart/form-data" or charset in _CHARSETS:
        return None
    return RequestRefused(415, "the form is not in UTF-8", "send it in UTF-8, as browsers do", _CLOSE)


def _content_length(scope: Scope) -> int:
    """The declared length of a body; 0 if it is missing or malformed, which uvicorn refuses."""
    value = _header(scope, b"content-length")
    return int(value[:18]) if value.isdigit() else 0


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for other, value in scope["headers"] if other == name), b"")
