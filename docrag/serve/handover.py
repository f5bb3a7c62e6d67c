"""How other commands find the server that holds an index, and ask it in their place.

A directory index belongs to one process at a time. While a server holds one, `serve.json` in its directory
says where it listens, for its owner's eyes only.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx

from docrag.errors import DocragError, QueryError, StoreError

NOTICE = "serve.json"
CONNECT, ALIVE, ANSWER = 2.0, 10.0, 300.0
"""Seconds to reach a server, to hear that it lives (it may be loading its models), and to be answered."""


@contextmanager
def advertised(folder: Path, url: str, run: str, token: str) -> Iterator[None]:
    """Say where the server listens as long as this lasts.

    Args:
        folder: Of the index.
        url: Under which this machine reaches the server.
        run: What its /healthz says, so that a notice that a killed server left is known for one.
        token: Opens the server until it ends; empty where it asks for no key.

    Raises:
        StoreError: The notice cannot be written.
    """
    notice = folder / NOTICE
    draft = folder / f".{NOTICE}"
    told = {"url": url, "pid": os.getpid(), "run": run, "token": token}
    try:
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(told, file)
        draft.replace(notice)
    except OSError as error:
        raise StoreError(f"cannot write {notice}: {error.strerror}", "is the disk writable?") from error
    try:
        yield
    finally:
        if (_read(notice) or {}).get("run") == run:  # the index is closed by now: another may have it
            notice.unlink(missing_ok=True)


class Holder:
    """The server that holds an index; use `find_holder`."""

    def __init__(self, http: httpx.Client, url: str) -> None:
        self._http = http
        self.url = url

    def search(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What `POST /v1/search` answers.

        Raises:
            QueryError: It cannot be asked so.
            DocragError: The server fails.
        """
        answer = self._get("POST", "/v1/search", json=dict(request))
        told: dict[str, Any] = answer.json()
        return told

    def picture(self, path: str) -> bytes:
        """The picture of a page, as JPEG.

        Args:
            path: As `image_url` of a hit gives it.
        """
        return self._get("GET", path).content

    def _get(self, method: str, path: str, **body: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **body)
        except httpx.HTTPError as error:
            raise StoreError(f"{self.url} does not answer: {type(error).__name__}", "try again") from error
        if answer.is_success:
            return answer
        raise _error_of(answer)


@contextmanager
def find_holder(folder: Path) -> Iterator[Holder | None]:
    """The server that holds the index in a directory; None where there is none, or none that answers.

    Args:
        folder: Of the index.
    """
    notice = _read(folder / NOTICE)
    if notice is None:
        yield None
        return
    headers = {"Authorization": f"Bearer {notice['token']}"} if notice["token"] else {}
    timeout = httpx.Timeout(ANSWER, connect=CONNECT)
    # No proxy stands between two processes of one machine, whatever the environment says.
    with httpx.Client(base_url=notice["url"], headers=headers, timeout=timeout, trust_env=False) as http:
        yield Holder(http, notice["url"]) if _answers(notice) else None


def _read(path: Path) -> dict[str, str] | None:
    """A notice; None where there is none that can be read."""
    try:
        told = json.loads(path.read_text())
        return {name: str(told[name]) for name in ("url", "run", "token")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _answers(notice: Mapping[str, str]) -> bool:
    """Whether what listens there is the server that wrote the notice; it is asked without the token."""
    try:
        if not _is_here(httpx.URL(notice["url"]).host):
            return False
        told = httpx.get(f"{notice['url']}/healthz", timeout=ALIVE, trust_env=False).json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return False
    return isinstance(told, dict) and told.get("run") == notice["run"]


def _is_here(host: str) -> bool:
    """Whether an address is this machine's own: a directory that came from elsewhere could name any other."""
    with suppress(ValueError, OSError):  # no address, or one of another machine
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
        with socket.socket(family) as tried:
            tried.bind((host, 0))
            return True
    return False


def _error_of(answer: httpx.Response) -> DocragError:
    """The error that an answer tells of."""
    kind = QueryError if answer.status_code in (400, 422) else DocragError
    try:
        told = answer.json()["error"]
        return kind(told["message"], told["hint"])
    except (ValueError, KeyError, TypeError):
        return StoreError(f"the server answers {answer.status_code}", "see its log")
