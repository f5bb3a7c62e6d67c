"""JSON over HTTP for models behind an address: one client, which tries again where that can help."""

from __future__ import annotations

import base64
import json
import math
import random
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential_jitter

from docrag.errors import RemoteError, SettingsError

TRIES = 4
"""Requests in all where the address fails; the waits between them are about 1, 2 and 4 seconds."""
BUSY_TRIES = 8
"""Requests in all where the address says 429; limits are mostly counted by the minute, and this waits two."""
LONGEST_WAIT = 60.0
"""Seconds between two requests, where the address does not say how long."""
LONGEST_ASKED = 180.0
"""Seconds that are waited because the address asks for it; what asks for more is an error."""
CONNECT = 10.0
"""Seconds that the address may take to accept a connection."""
BUSY = 429
_PASSING = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError)
_DETAIL = 200
"""Characters of the address's own words that an error repeats; some answer with the whole request."""

HINTS: Mapping[int, str] = {
    400: "the request or the model's name is not to its taste",
    401: "check the key",
    403: "check the key, and what it may use",
    404: "check the address, which often ends in /v1, and the model's name",
    413: "the request is too large for it; a smaller image side helps",
    BUSY: "it is busy or the quota is used up: ask for less at once, or try again later",
}
"""What to try, by HTTP status."""


class _Failed(Exception):
    """A request failed in a way that may pass; no error yet, since another try may help."""

    def __init__(self, error: RemoteError, asked: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.asked = asked
        """Seconds that the address wants to be left alone."""


class JsonClient:
    """Posts JSON to one address and gives the JSON that comes back; several threads may use it at once.

    Requests go out again after 429 (as late as Retry-After asks), 5xx, broken connections and timeouts, with
    waits that double and differ by chance, so that threads do not come back together.

    Args:
        base_url: http or https, such as http://127.0.0.1:8000/v1.
        key: Sent as bearer token; empty where none is needed. No error repeats it.
        timeout: Seconds without any byte after which a request has failed.
        sleep: Waits; by default until `close`.

    Raises:
        SettingsError: The address or the key cannot be one.
    """

    def __init__(
        self,
        base_url: str,
        key: str = "",
        timeout: float = 120,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self._key = checked_key(key)
        self._base = _checked_url(base_url)
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        patience = httpx.Timeout(timeout, connect=min(timeout, CONNECT), pool=None)
        self._http = httpx.Client(headers=headers, timeout=patience)
        self._close = weakref.finalize(self, self._http.close)
        self._timeout = timeout
        self._closed = threading.Event()
        self._try = Retrying(
            sleep=sleep or self._wait,
            stop=_tried_enough,
            wait=_wait,
            retry=retry_if_exception_type(_Failed),
            reraise=True,
        )

    def address(self, path: str) -> str:
        """The address of a path as errors tell it: without user, password and query."""
        shown = self._url(path).copy_with(username=None, password=None, query=None)
        return str(shown)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send an object, wait for the one that answers it.

        Args:
            path: Below the base URL, without a slash in front.
            body: What is sent as JSON.

        Raises:
            RemoteError: No answer, a refusal or no JSON object, after as many tries as may help.
        """
        content = json.dumps(body).encode()  # escapes lone surrogates, which UTF-8 cannot hold
        try:
            return self._try(self._post, path, content)
        except _Failed as failed:
            raise failed.error from failed.__cause__

    def close(self) -> None:
        """Close the connections; requests that wait for another try, in any thread, fail now."""
        self._closed.set()
        self._close()

    def _wait(self, seconds: float) -> None:
        if self._closed.wait(seconds):
            raise RemoteError(f"{self.address('')}: closed before it answered")

    def _url(self, path: str) -> httpx.URL:
        return self._base.copy_with(path=f"{self._base.path.rstrip('/')}/{path}")

    def _post(self, path: str, content: bytes) -> dict[str, Any]:
        where = self.address(path)
        try:
            response = self._http.post(self._url(path), content=content)
        except httpx.HTTPError as error:
            told = RemoteError(f"{where}: {self._in_words(error)}", "is it running, and the address right?")
            if isinstance(error, _PASSING):
                raise _Failed(told) from error
            raise told from error
        if not response.is_success:
            raise self._refusal(where, response)
        return self._object(where, response)

    def _refusal(self, where: str, response: httpx.Response) -> Exception:
        status = response.status_code
        message = f"{where} answered {status}: {self._detail(response)}"
        error = RemoteError(message, HINTS.get(status, "" if status < 500 else "try again later"), status)
        if status != BUSY and status < 500:
            return error
        asked = retry_after(response.headers.get("Retry-After", ""), time.time())
        if asked is not None and asked > LONGEST_ASKED:
            return RemoteError(message, f"it asks to be left alone for {asked:.0f} seconds", status)
        return _Failed(error, asked)

    def _object(self, where: str, response: httpx.Response) -> dict[str, Any]:
        try:
            found = response.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise RemoteError(
                f"{where} answered with no JSON object: {self._short(response.text)}", HINTS[404]
            )
        return found

    def _in_words(self, error: httpx.HTTPError) -> str:
        if isinstance(error, httpx.ConnectTimeout):
            return "no connection"
        if isinstance(error, httpx.TimeoutException):
            return f"no answer within {self._timeout:g} seconds"
        return self._short(str(error)) or type(error).__name__

    def _detail(self, response: httpx.Response) -> str:
        """What the address says about a refusal: FastAPI, OpenAI and Ollama each have their own form."""
        try:
            told = response.json()
        except ValueError:
            return self._short(response.text) or response.reason_phrase
        for name in ("error", "detail", "message"):
            if isinstance(told, dict) and told.get(name):
                told = told[name]
        return self._short(told if isinstance(told, str) else json.dumps(told))

    def _short(self, text: str) -> str:
        line = " ".join(text.split())
        if self._key:  # some repeat the key that they refuse
            line = line.replace(self._key, "***")
        return line if len(line) <= _DETAIL else f"{line[:_DETAIL]}…"


def data_url(jpeg: bytes) -> str:
    """A JPEG image as text, the form in which such models take images."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def retry_after(value: str, now: float) -> float | None:
    """Seconds to wait by the header Retry-After: a number of seconds, or a date.

    Args:
        value: Of the header; empty where there is none.
        now: Seconds since 1970.

    Returns:
        0 for a date that has passed; None where the value says nothing.

    >>> retry_after("20", 0.0), retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 15.0), retry_after("soon", 0.0)
    (20.0, 45.0, None)
    """
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


_exponential = wait_exponential_jitter(initial=1, max=LONGEST_WAIT, jitter=1)


def _wait(state: RetryCallState) -> float:
    asked = _failure(state).asked
    return _exponential(state) if asked is None else asked + random.uniform(0, 1)


def _tried_enough(state: RetryCallState) -> bool:
    return state.attempt_number >= (BUSY_TRIES if _failure(state).error.status == BUSY else TRIES)


def _failure(state: RetryCallState) -> _Failed:
    failed = state.outcome and state.outcome.exception()
    assert isinstance(failed, _Failed)
    return failed


def _checked_url(base_url: str) -> httpx.URL:
    hint = "such as http://127.0.0.1:8000/v1"
    try:
        url = httpx.URL(base_url.strip())
    except httpx.InvalidURL as error:
        raise SettingsError(f"{base_url!r} is not an address: {error}", hint) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise SettingsError(f"{base_url!r} is not an address of http or https", hint)
    return url


def checked_key(key: str) -> str:
    """The key without blanks around it; one that cannot be in a header would be told by the error.

    Raises:
        SettingsError: It cannot be in a header.
    """
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError("the key has characters that no key has", "copy it once more")
    return key
