"""Who may ask, and from where: the key, the names of this server, other sites, and what browsers may do."""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from docrag.serve.errors import RequestRefused, error_answer
from docrag.serve.settings import ServeSettings, is_loopback

COOKIE = "docrag_session"
LOGIN = "/login"
OPEN = frozenset({"/healthz", "/readyz", LOGIN, "/favicon.ico"})
"""Paths that need no key."""
OPEN_BELOW = "/static/"
PICTURES = "/pages/"
"""Other sites may show pictures of pages, as Qdrant's dashboard does; scripts of theirs cannot read them."""
HOST = re.compile(r"(?P<name>[a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
READING = frozenset({"GET", "HEAD", "OPTIONS"})

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",  # without any, browsers send forms of our own as from nowhere
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
"""On every answer that does not say otherwise itself."""


class Access:
    """What opens a server with a key: the key, the cookie of a browser that gave it, or this run's token.

    Args:
        key: Empty where none is needed.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self.token = secrets.token_urlsafe(32)
        """For other commands on this machine; ends with the run."""
        self.session = hmac.new(key.encode(), b"docrag browser session", sha256).hexdigest()
        """What a browser keeps in place of the key."""

    @property
    def needed(self) -> bool:
        """Whether there is a key."""
        return bool(self._key)

    def is_key(self, given: str) -> bool:
        """Whether a text is the key or the token; it takes as long where it is not."""
        either = [hmac.compare_digest(given.encode(), one.encode()) for one in (self._key, self.token)]
        return any(either)

    def admits(self, request: Request) -> bool:
        """Whether a request may be answered."""
        path: str = request.scope["path"]  # request.url is put together with the Host that the client names
        if not self.needed or path in OPEN or path.startswith(OPEN_BELOW):
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.is_key(given.strip())
        return hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), self.session.encode())


class Security:
    """ASGI middleware: refuses what should not be answered, and says to browsers what they may do.

    Args:
        app: Gets the rest.
        settings: Names and addresses of the server.
        access: Knows the key.
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings, access: Access) -> None:
        self._app = app
        self._own = own_names(settings)
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        try:
            require_own_host(request, self._own)
            require_own_site(request)
        except RequestRefused as refused:
            hint, detail = refused.hint, str(refused.detail)
            answer = error_answer(refused.status_code, detail, hint, refused.headers)
            await answer(scope, receive, with_headers)
            return
        app = self._app if self._access.admits(request) else _ask_for_key(request)
        await app(scope, receive, with_headers)


def own_names(settings: ServeSettings) -> Callable[[str], bool]:
    """Tells whether a host name is one of this server's.

    A web page can make its own name lead to this machine (DNS rebinding), but no page can own an address:
    names are taken that were given, and addresses, those of this machine alone if it listens to no others.
    """
    given = {"localhost", settings.host.lower(), *(name.lower() for name in settings.allowed_hosts)}
    if not settings.loopback:
        given.add(socket.gethostname().lower())

    def own(name: str) -> bool:
        if name in given:
            return True
        with suppress(ValueError):
            return is_loopback(str(ipaddress.ip_address(name))) or not settings.loopback
        return False

    return own


def require_own_host(request: Request, own: Callable[[str], bool]) -> None:
    """Refuse a request that asks for somebody else.

    Raises:
        RequestRefused: Its Host is none of this server's names.
    """
    host = HOST.fullmatch(request.headers.get("host", "").lower())
    if host is None or not own(host["name"].strip("[]")):
        hint = "use 127.0.0.1, or start docrag serve with --allow-host NAME"
        raise RequestRefused(421, "this server does not go by that name", hint)


def require_own_site(request: Request) -> None:
    """Refuse what pages of other sites ask: all that changes something or takes the machine's time.

    Raises:
        RequestRefused: Another site's page asks.
    """
    headers, reading = request.headers, request.method in READING
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    elsewhere = origin is not None and origin_host(origin) != headers.get("host", "").lower()
    if not reading and (elsewhere or site not in ("none", "same-origin")):
        raise RequestRefused(403, "another site's page asks for this", "open docrag's own page")
    visit = headers.get("sec-fetch-mode") == "navigate" or request.scope["path"].startswith(PICTURES)
    if site == "cross-site" and not (reading and visit):
        raise RequestRefused(403, "another site's page asks for this", "open docrag's own page")


def origin_host(origin: str) -> str:
    """Host and port of an origin; empty for one that has none, such as null.

    >>> origin_host("http://127.0.0.1:8000"), origin_host("null")
    ('127.0.0.1:8000', '')
    """
    with suppress(ValueError):
        return urlsplit(origin).netloc.lower()
    return ""


def _ask_for_key(request: Request) -> Response:
    """Send a browser to the form, and tell others what to send."""
    looks = "text/html" in request.headers.get("accept", "")
    if request.headers.get("hx-request"):
        return Response(status_code=401, headers={"HX-Redirect": LOGIN})
    if request.method == "GET" and looks:
        return RedirectResponse(LOGIN, 303)
    hint = "send the header Authorization: Bearer KEY"
    return error_answer(401, "the key is missing or wrong", hint, {"WWW-Authenticate": "Bearer"})
