"""How other commands find the server that holds an index, and send it their searches.

While a server runs over a directory index, `serve.json` in the directory says where it listens. Only the
owner of the server can read the file.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx

from docrag.errors import DocragError, QueryError, StoreError

logger = logging.getLogger(__name__)

NOTICE = "serve.json"
CONNECT_TIMEOUT = 2.0
"""Seconds to connect to the server."""
HEALTH_TIMEOUT = 10.0
"""Seconds until the server shows that it is alive; it may still be loading its models."""
RESPONSE_TIMEOUT = 300.0
"""Seconds until the server responds to a search."""


class Notice(NamedTuple):
    """The content of serve.json."""

    url: str
    run: str
    """What /healthz of the server that wrote the notice returns."""
    token: str
    """Opens the server; empty if it needs no key."""

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read a notice; None if there is none, or it is malformed."""
        try:
            content = json.loads(path.read_text())
            return cls(str(content["url"]), str(content["run"]), str(content["token"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


@contextmanager
def advertised(folder: Path, url: str, run: str, token: str) -> Iterator[None]:
    """Say in the directory of an index where its server listens, for as long as the block lasts.

    Args:
        folder: Directory of the index.
        url: Address under which this machine reaches the server.
        run: What /healthz of the server returns, by which a notice that a killed server left is recognised.
        token: Opens the server until it stops; empty if it needs no key.

    Raises:
        StoreError: The notice cannot be written.
    """
    notice = folder / NOTICE
    draft = folder / f".{NOTICE}"
    content = {"url": url, "pid": os.getpid(), "run": run, "token": token}
    try:
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(content, file)
        draft.replace(notice)
    except OSError as error:
        raise StoreError(
            f"cannot write {notice}: {error.strerror}", "check that the disk is writable"
        ) from error
    logger.info("wrote %s: other commands find the server at %s", notice, url)
    try:
        yield
    finally:
        current = Notice.read(notice)
        if current is not None and current.run == run:  # the index is closed: another server may hold it now
            notice.unlink(missing_ok=True)


class Holder:
    """A client for the server that holds an index; `find_holder` makes it."""

    def __init__(self, http: httpx.Client, url: str) -> None:
        self._http = http
        self.url = url

    def search(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send a search, and return the response of `POST /v1/search`.

        Raises:
            QueryError: The query or the filter cannot be used.
            DocragError: The server failed.
        """
        response: dict[str, Any] = self._request("POST", "/v1/search", json=dict(request)).json()
        return response

    def picture(self, path: str) -> bytes:
        """The image of a page, as JPEG.

        Args:
            path: The `image_url` of a hit.
        """
        return self._request("GET", path).content

    def _request(self, method: str, path: str, **body: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **body)
        except httpx.HTTPError as error:
            raise StoreError(f"{self.url} does not respond: {type(error).__name__}", "try again") from error
        if not response.is_success:
            raise _error_of(response)
        return response


@contextmanager
def find_holder(folder: Path) -> Iterator[Holder | None]:
    """Find the server that holds the index in a directory; None if there is none, or it does not respond.

    Args:
        folder: Directory of the index.
    """
    notice = Notice.read(folder / NOTICE)
    if notice is None:
        yield None
        return
    headers = {"Authorization": f"Bearer {notice.token}"} if notice.token else {}
    timeout = httpx.Timeout(RESPONSE_TIMEOUT, connect=CONNECT_TIMEOUT)
    # No proxy belongs between two processes of one machine, whatever the environment says.
    with httpx.Client(base_url=notice.url, headers=headers, timeout=timeout, trust_env=False) as http:
        if _is_alive(notice):
            logger.info("the index is held by the server at %s", notice.url)
            yield Holder(http, notice.url)
        else:
            logger.info("ignoring %s: its server is not running", folder / NOTICE)
            yield None


def _is_alive(notice: Notice) -> bool:
    """Whether the server that wrote a notice still listens; it is asked without the token."""
    try:
        if not _is_local(httpx.URL(notice.url).host):
            return False
        health = httpx.get(f"{notice.url}/healthz", timeout=HEALTH_TIMEOUT, trust_env=False).json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return False
    return isinstance(health, dict) and health.get("run") == notice.run


def _is_local(host: str) -> bool:
    """Whether an address is this machine's own; a directory copied from elsewhere could name any address."""
    with suppress(ValueError, OSError):  # not an address, or an address of another machine
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
        with socket.socket(family) as probe:
            probe.bind((host, 0))
            return True
    return False


def _error_of(response: httpx.Response) -> DocragError:
    """The error that a response reports."""
    kind = QueryError if response.status_code in (400, 422) else DocragError
    try:
        error = response.json()["error"]
        return kind(error["message"], error["hint"])
    except (ValueError, KeyError, TypeError):
        return StoreError(f"the server responded with status {response.status_code}", "see its log")
