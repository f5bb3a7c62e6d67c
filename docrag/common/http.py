"""A client for models behind an HTTP API: it posts JSON, and retries where that can help."""

from __future__ import annotations

import base64
import json
import logging
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

logger = logging.getLogger(__name__)

ATTEMPTS = 4
"""Requests sent in all if the server fails; the waits between them are about 1, 2 and 4 seconds."""
BUSY_ATTEMPTS = 8
"""Requests sent in all if the server answers 429. Most rate limits count by the minute, and the waits add up
to two minutes."""
LONGEST_WAIT = 60.0
"""Longest wait in seconds between two requests if the server does not say how long to wait."""
LONGEST_RETRY_AFTER = 180.0
"""Longest wait in seconds that a server may ask for; if it asks for more, the request fails."""
CONNECT_TIMEOUT = 10.0
"""Seconds that a server may take to accept a connection."""
BUSY = 429
_TEMPORARY = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError)
_DETAIL_LIMIT = 200
"""Characters of a server's message that an error repeats; some servers answer with the whole request."""

HINTS: Mapping[int, str] = {
    400: "check the model's name and the options of the request",
    401: "check the key",
    403: "check the key and its permissions",
    404: "check the address, which often ends in /v1, and the model's name",
    413: "the request is too large; choose a smaller image side",
    BUSY: "the server is busy or the quota is used up: send fewer requests at once, or try again later",
}
"""What to do, by HTTP status."""


class _TemporaryFailure(Exception):
    """A request failed in a way that a retry may cure."""

    def __init__(self, error: RemoteError, retry_after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        """Raised to the caller when no attempt is left."""
        self.retry_after = retry_after
        """Seconds that the server asks to wait; None if it does not say."""


class JsonClient:
    """Posts JSON to one server and returns the JSON of its answers; several threads may share a client.

    A request is retried after 429 (not before Retry-After), 5xx, broken connections and timeouts. The waits
    double each time and have a random part, so that threads do not retry at the same moment.

    Args:
        base_url: An http or https address, such as http://127.0.0.1:8000/v1.
        key: Sent as a bearer token; empty if none is needed. It never appears in errors or logs.
        timeout: Seconds without any byte received after which a request fails.
        sleep: Waits between two attempts; the default waits until `close` is called.

    Raises:
        SettingsError: The address or the key is not valid.
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
        timeouts = httpx.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT), pool=None)
        self._http = httpx.Client(headers=headers, timeout=timeouts)
        self._close = weakref.finalize(self, self._http.close)
        self._timeout = timeout
        self._closed = threading.Event()
        self._retrying = Retrying(
            sleep=sleep or self._wait_until_closed,
            stop=_attempts_used_up,
            wait=_seconds_to_wait,
            retry=retry_if_exception_type(_TemporaryFailure),
            before_sleep=_log_retry,
            reraise=True,
        )

    def address(self, path: str) -> str:
        """Return the address of a path as errors show it: without user, password and query."""
        return str(self._url(path).copy_with(username=None, password=None, query=None))

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send a JSON object and return the object of the answer.

        Args:
            path: Path below the base URL, without a slash in front.
            body: Sent as JSON.

        Raises:
            RemoteError: The server did not answer, refused, or did not answer with a JSON object, and retries
                did not help or cannot help.
        """
        content = json.dumps(body).encode()  # escapes lone surrogates, which UTF-8 cannot represent
        try:
            return self._retrying(self._post, path, content)
        except _TemporaryFailure as failure:
            raise failure.error from failure.__cause__

    def close(self) -> None:
        """Close the connections; requests that wait for a retry, in any thread, fail at once."""
        self._closed.set()
        self._close()

    def _wait_until_closed(self, seconds: float) -> None:
        if self._closed.wait(seconds):
            raise RemoteError(f"{self.address('')}: the client was closed before an answer came")

    def _url(self, path: str) -> httpx.URL:
        return self._base.copy_with(path=f"{self._base.path.rstrip('/')}/{path}")

    def _post(self, path: str, content: bytes) -> dict[str, Any]:
        """Send a request once.

        Raises:
            _TemporaryFailure: A retry may help.
            RemoteError: A retry cannot help.
        """
        address = self.address(path)
        try:
            response = self._http.post(self._url(path), content=content)
        except httpx.HTTPError as error:
            hint = "check that the server is running and that the address is right"
            failure = RemoteError(f"{address}: {self._describe(error)}", hint)
            if isinstance(error, _TEMPORARY):
                raise _TemporaryFailure(failure) from error
            raise failure from error
        if not response.is_success:
            raise self._refusal(address, response)
        return self._parse_object(address, response)

    def _refusal(self, address: str, response: httpx.Response) -> Exception:
        """The error for an answer whose status is not 2xx."""
        status = response.status_code
        message = f"{address} answered {status}: {self._reason(response)}"
        error = RemoteError(message, HINTS.get(status, "" if status < 500 else "try again later"), status)
        if status != BUSY and status < 500:
            return error
        seconds = retry_after(response.headers.get("Retry-After", ""), time.time())
        if seconds is not None and seconds > LONGEST_RETRY_AFTER:
            return RemoteError(message, f"the server asks to wait {seconds:.0f} seconds", status)
        return _TemporaryFailure(error, seconds)

    def _parse_object(self, address: str, response: httpx.Response) -> dict[str, Any]:
        try:
            parsed = response.json()
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise RemoteError(
                f"{address} did not answer with a JSON object: {self._excerpt(response.text)}", HINTS[404]
            )
        return parsed

    def _describe(self, error: httpx.HTTPError) -> str:
        if isinstance(error, httpx.ConnectTimeout):
            return "no connection"
        if isinstance(error, httpx.TimeoutException):
            return f"no answer within {self._timeout:g} seconds"
        return self._excerpt(str(error)) or type(error).__name__

    def _reason(self, response: httpx.Response) -> str:
        """The server's reason for a refusal; FastAPI, OpenAI and Ollama give it under different keys."""
        try:
            reason = response.json()
        except ValueError:
            return self._excerpt(response.text) or response.reason_phrase
        for name in ("error", "detail", "message"):
            if isinstance(reason, dict) and reason.get(name):
                reason = reason[name]
        return self._excerpt(reason if isinstance(reason, str) else json.dumps(reason))

    def _excerpt(self, text: str) -> str:
        """The beginning of a server's message on one line, without the key."""
        line = " ".join(text.split())
        if self._key:  # some servers repeat the key that they refuse
            line = line.replace(self._key, "***")
        return line if len(line) <= _DETAIL_LIMIT else f"{line[:_DETAIL_LIMIT]}…"


def data_url(jpeg: bytes) -> str:
    """A JPEG image as a data URL, the form in which JSON APIs take images."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def retry_after(value: str, now: float) -> float | None:
    """Seconds to wait according to a Retry-After header, which holds a number of seconds or a date.

    Args:
        value: Value of the header; empty if there is none.
        now: The current time in seconds since 1970.

    Returns:
        0 for a date that has passed; None for a value that cannot be parsed.

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


_exponential_wait = wait_exponential_jitter(initial=1, max=LONGEST_WAIT, jitter=1)


def _seconds_to_wait(state: RetryCallState) -> float:
    seconds = _failure(state).retry_after
    return _exponential_wait(state) if seconds is None else seconds + random.uniform(0, 1)


def _attempts(error: RemoteError) -> int:
    """How many requests are sent in all after this error."""
    return BUSY_ATTEMPTS if error.status == BUSY else ATTEMPTS


def _attempts_used_up(state: RetryCallState) -> bool:
    return state.attempt_number >= _attempts(_failure(state).error)


def _log_retry(state: RetryCallState) -> None:
    error = _failure(state).error
    seconds = state.next_action.sleep if state.next_action else 0.0
    logger.info(
        "%s; retrying in %.1f seconds (attempt %d of %d)",
        error.message,
        seconds,
        state.attempt_number + 1,
        _attempts(error),
    )


def _failure(state: RetryCallState) -> _TemporaryFailure:
    failure = state.outcome and state.outcome.exception()
    assert isinstance(failure, _TemporaryFailure)
    return failure


def _checked_url(base_url: str) -> httpx.URL:
    hint = "give an address such as http://127.0.0.1:8000/v1"
    try:
        url = httpx.URL(base_url.strip())
    except httpx.InvalidURL as error:
        raise SettingsError(f"{base_url!r} is not a valid address: {error}", hint) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise SettingsError(f"{base_url!r} is not a valid http or https address", hint)
    return url


def checked_key(key: str) -> str:
    """Return the key without surrounding whitespace.

    Checked here because the HTTP library's error would show a key that cannot be sent in a header.

    Raises:
        SettingsError: The key has characters that cannot be sent in a header.
    """
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError("the key has characters that a key cannot have", "copy the key again")
    return key
