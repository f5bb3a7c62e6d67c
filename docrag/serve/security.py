"""Access control: the key, the host names of this server, requests from other sites, and browser policies."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import re
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from docrag.serve.errors import RequestRefused, error_response
from docrag.serve.settings import ServeSettings, is_loopback

logger = logging.getLogger(__name__)

COOKIE = "docrag_session"
LOGIN = "/login"
PUBLIC_PATHS = frozenset({"/healthz", "/readyz", LOGIN, "/favicon.ico"})
"""Paths that need no key."""
PUBLIC_PREFIX = "/static/"
PAGE_IMAGES_PREFIX = "/pages/"
"""Other sites may embed page images, as Qdrant's dashboard does; their scripts still cannot read them."""
HOST = re.compile(r"(?P<name>[a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers send our own forms with Origin: null
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
"""Headers of every response; a response may override them."""


class Access:
    """What opens a server that has a key: the key, or the cookie of a browser.

    Args:
        key: The key; empty if the server needs none.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self.session = hmac.new(key.encode(), b"docrag browser session", sha256).hexdigest()
        """Value of the cookie, which a browser keeps instead of the key. All servers with the same key
        accept it, so that several processes can stand behind one address."""

    @property
    def needed(self) -> bool:
        """Whether a key is needed."""
        return bool(self._key)

    def is_key(self, text: str) -> bool:
        """Whether a text is the key, compared in constant time."""
        return hmac.compare_digest(text.encode(), self._key.encode())

    def admits(self, request: Request) -> bool:
        """Whether a request may pass."""
        path: str = request.scope["path"]  # request.url would be built with the Host that the client sent
        if not self.needed or path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIX):
            return True
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.is_key(credentials.strip())
        return hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), self.session.encode())


class Security:
    """ASGI middleware that refuses forbidden requests and adds the security headers to every response.

    Args:
        app: The application behind it.
        settings: Host and host names of the server.
        access: Checks the key.
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings, access: Access) -> None:
        self._app = app
        self._is_own_host = own_host_check(settings)
        self._loopback = settings.loopback
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        try:
            require_own_host(request, self._is_own_host)
            require_own_site(request)
            if self._loopback and not self._access.needed:
                require_own_machine(scope)
        except RequestRefused as refusal:
            logger.info("refused %s %a: %s", scope["method"], scope["path"], refusal.detail)
            await refusal.response()(scope, receive, send_with_headers)
            return
        app = self._app if self._access.admits(request) else _request_key(request)
        await app(scope, receive, send_with_headers)


def own_host_check(settings: ServeSettings) -> Callable[[str], bool]:
    """A function that tells whether a host name is one of this server's.

    A web page can point its own host name at this machine (DNS rebinding), but it cannot own an address.
    So the configured names are accepted, and all addresses; if the server listens to this machine alone,
    only loopback addresses.
    """
    names = {"localhost", settings.host.lower(), *(name.lower() for name in settings.allowed_hosts)}
    if not settings.loopback:
        names.add(socket.gethostname().lower())

    def is_own_host(host: str) -> bool:
        if host in names:
            return True
        with suppress(ValueError):
            return is_loopback(str(ipaddress.ip_address(host))) or not settings.loopback
        return False

    return is_own_host


def require_own_host(request: Request, is_own_host: Callable[[str], bool]) -> None:
    """Refuse a request that is meant for another host.

    Raises:
        RequestRefused: The Host header is not one of this server's names.
    """
    host = HOST.fullmatch(request.headers.get("host", "").lower())
    if host is None or not is_own_host(host["name"].strip("[]")):
        hint = "use 127.0.0.1, or start docrag serve with --allow-host NAME"
        raise RequestRefused(421, "this server does not answer under that host name", hint)


def require_own_site(request: Request) -> None:
    """Refuse requests from pages of other sites, except links to a page and embedded page images.

    Raises:
        RequestRefused: The request comes from a page of another site.
    """
    if _is_from_other_site(request):
        raise RequestRefused(403, "this request comes from a page of another site", "open docrag's own page")


def require_own_machine(scope: Scope) -> None:
    """Refuse a request that came to an address which other machines reach, where they would need a key.

    `docrag serve` never listens there without a key, but whoever runs the application may do so.

    Raises:
        RequestRefused: The request did not come to a loopback address.
    """
    address = (scope.get("server") or ("",))[0]
    with suppress(ValueError):  # a name, as tests have it, or the path of a Unix socket
        if not ipaddress.ip_address(address).is_loopback:
            hint = f"set DOCRAG_SERVE_HOST={address} and DOCRAG_SERVE_KEY"
            raise RequestRefused(403, "this server has no key, so it only answers its own machine", hint)


def origin_host(origin: str) -> str:
    """Host and port of an origin; empty for one without a host, such as null.

    >>> origin_host("http://127.0.0.1:8000"), origin_host("null")
    ('127.0.0.1:8000', '')
    """
    with suppress(ValueError):
        return urlsplit(origin).netloc.lower()
    return ""


def _is_from_other_site(request: Request) -> bool:
    headers = request.headers
    is_safe = request.method in SAFE_METHODS
    site = headers.get("sec-fetch-site", "none")
    origin = headers.get("origin")
    is_other_origin = origin is not None and origin_host(origin) != headers.get("host", "").lower()
    if not is_safe and (is_other_origin or site not in ("none", "same-origin")):
        return True
    is_link = headers.get("sec-fetch-mode") == "navigate"
    is_page_image = request.scope["path"].startswith(PAGE_IMAGES_PREFIX)
    return site == "cross-site" and not (is_safe and (is_link or is_page_image))


def _request_key(request: Request) -> Response:
    """Send browsers to the login form, and tell programs which header to send."""
    if request.headers.get("hx-request"):
        return Response(status_code=401, headers={"HX-Redirect": LOGIN})
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(LOGIN, 303)
    hint = "send the header Authorization: Bearer KEY"
    return error_response(401, "the key is missing or wrong", hint, {"WWW-Authenticate": "Bearer"})
