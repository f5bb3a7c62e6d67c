"""A connection to a Qdrant server: gRPC if it answers, retries when they may help, docrag's own errors."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

import grpc  # type: ignore[import-untyped]
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as proto
from qdrant_client.connection import get_channel
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from docrag.common.http import checked_key
from docrag.errors import ServerRefused, ServerUnreachable
from docrag.store.server.address import GRPC_PORT, REST_PORT, Address
from docrag.store.server.failures import CLIENT_ERRORS, NOT_FOUND, Failure, failure_of
from docrag.store.server.schema import version_text
from docrag.store.server.tls import TrustedCertificates
from docrag.store.server.wire import GrpcWire, JsonWire, Wire

logger = logging.getLogger(__name__)

TIMEOUT = 60
"""Seconds for one request; the client's default of 5 is too short for 8 MiB, or a query from a cold disk."""
TRIES = 6
"""How often a request is sent at most; the waits between are about 0.5, 1, 2, 4 and 8 seconds, which is
enough for a restart of the server."""
FIRST_TRIES = 2
"""How often the first request of a connection is sent, so that a wrong address is reported soon."""
MAX_RETRY_AFTER = 60.0
"""The longest wait in seconds that a server can ask for; a longer one is an error."""
GRPC_PROBE_TIMEOUT = 2.0
"""Seconds that gRPC may take to answer before REST is used instead."""

CHANNEL_OPTIONS = {
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
    "grpc.compression_enabled_algorithms_bitset": 1,
}
"""gRPC fails calls at once between its own attempts to connect. By default these come to be two minutes
apart, so that all tries would miss a server that has restarted.

The bitset leaves no compression enabled but identity. Qdrant compresses every answer for a client that
accepts gzip, and for vectors this takes ten times as long as sending them as they are."""

Version = tuple[int, int]
OLDEST: Version = (1, 16)
"""The first version that stores metadata with a collection, where docrag keeps the fingerprint."""

Result = TypeVar("Result")


class _Temporary(Exception):
    """A request failed, but the next try may succeed.

    Args:
        error: What to raise after the last try.
        retry_after: Seconds to wait, if the server named them.
    """

    def __init__(self, error: ServerUnreachable, retry_after: float | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after = retry_after


class Connection:
    """A client of one server, for one address; several threads may use it at once. Create it with `connect`.

    Args:
        address: The address of the collection.
        client: qdrant-client.
        wire: How points are sent.
        version: The server's version, major and minor.
        secret: The API key, which is removed from errors.
        sleep: How to wait between tries; tests pass another function.
    """

    def __init__(
        self,
        address: Address,
        client: QdrantClient,
        wire: Wire,
        version: Version = OLDEST,
        secret: str = "",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.address = address
        self.client = client
        self.wire = wire
        self.version = version
        self._secret = secret
        self._sleep = sleep

    def call(self, do: Callable[[], Result], *, tries: int = TRIES) -> Result:
        """Return what `do` returns; try again after lost connections, timeouts, status 429 and 5xx.

        Args:
            do: Calls the client. It may be repeated although it succeeded, if the answer was lost.
            tries: How often to call it at most.

        Raises:
            ServerUnreachable: No try succeeded.
            ServerRefused: The server refused the request.
        """
        retrying = Retrying(
            sleep=self._sleep,
            stop=stop_after_attempt(tries),
            wait=_wait_seconds,
            before_sleep=_log_retry,
            retry=retry_if_exception_type(_Temporary),
            reraise=True,
        )
        try:
            result: Result = retrying(self._once, do)
        except _Temporary as failed:
            raise failed.error from failed.__cause__
        return result

    def info(self, collection: str) -> models.CollectionInfo | None:
        """Return the server's description of a collection or alias; None if there is none."""
        try:
            return self.call(lambda: self.client.get_collection(collection))
        except ServerRefused as refused:
            if refused.status == NOT_FOUND:
                return None
            raise

    def close(self) -> None:
        """Close the client's connections."""
        self.client.close()

    def _once(self, do: Callable[[], Result]) -> Result:
        try:
            return do()
        except CLIENT_ERRORS as error:
            raise self._to_error(failure_of(error)) from error

    def _to_error(self, failure: Failure) -> Exception:
        detail = failure.message.replace(self._secret, "***") if self._secret else failure.message
        answered = f" answered {failure.status}" if failure.answered else ""
        message = f"{self.address.url}{answered}: {detail}"
        if failure.tls_failed:
            return ServerUnreachable(message, failure.hint)
        if not failure.temporary:
            return ServerRefused(message, failure.hint, failure.status)
        if failure.retry_after is not None and failure.retry_after > MAX_RETRY_AFTER:
            hint = f"the server asks to wait {failure.retry_after:.0f} seconds before the next request"
            return ServerUnreachable(message, hint)
        return _Temporary(ServerUnreachable(message, failure.hint), failure.retry_after)


def connect(
    address: Address,
    api_key: str = "",
    *,
    prefer_grpc: bool = True,
    grpc_port: int | None = None,
    ca_file: str = "",
    timeout: int = TIMEOUT,
    sleep: Callable[[float], None] = time.sleep,
    **http: Any,
) -> Connection:
    """Connect to a server and ask for its version.

    Args:
        address: The address of the collection, which need not exist.
        api_key: The server's API key; empty if it needs none.
        prefer_grpc: Whether to use gRPC if it answers: it sends half the bytes, and no numbers as text.
        grpc_port: The port of gRPC. By default it is 6334 if the address has port 6333; beside another port
            gRPC is not tried, since a different server might answer.
        ca_file: Certificates (PEM) to trust with https, for REST and gRPC; by default those in the file that
            SSL_CERT_FILE names, else those that httpx and gRPC trust by themselves.
        timeout: Seconds for one request.
        sleep: How to wait between tries; tests pass another function.
        http: Arguments for httpx, such as `transport`.

    Raises:
        SettingsError: The API key holds characters that cannot be sent, or the file holds no certificates.
        ServerUnreachable: Nothing answers, or the server's certificate is not trusted.
        ServerRefused: The API key is wrong, or the server is not Qdrant or is too old.
    """
    api_key = checked_key(api_key)
    certificates = TrustedCertificates.read(ca_file) if address.secure else TrustedCertificates()
    default_grpc_port = GRPC_PORT if address.port == REST_PORT else 0
    port = grpc_port or default_grpc_port

    def make_client(with_grpc: bool) -> QdrantClient:
        return QdrantClient(
            url=address.url,
            grpc_port=port or GRPC_PORT,
            prefer_grpc=with_grpc,
            timeout=timeout,
            # Not as `api_key`: the client would then warn about http even on this machine.
            headers={"api-key": api_key} if api_key else None,
            check_compatibility=False,
            grpc_options={**CHANNEL_OPTIONS, **certificates.grpc_options},
            **{**certificates.rest_options, **http},
        )

    client = make_client(with_grpc=False)
    connection = Connection(address, client, JsonWire(client), secret=api_key, sleep=sleep)
    try:
        connection.version = _server_version(connection)
        # REST comes first: gRPC does not say what is wrong with an address or a certificate.
        if prefer_grpc and port and _grpc_answers(address, api_key, port, certificates):
            connection.close()
            connection.client = make_client(with_grpc=True)
            connection.wire = GrpcWire(connection.client, timeout)
    except BaseException:
        connection.close()
        raise
    logger.info(
        "connected to %s by %s: Qdrant %s",
        address.url,
        "gRPC" if isinstance(connection.wire, GrpcWire) else "REST",
        version_text(connection.version),
    )
    return connection


def parse_version(version: str) -> Version:
    """Return the major and minor number of a version.

    >>> parse_version("1.19.0-dev")
    (1, 19)
    """
    major, minor, *_ = version.split(".")
    return int(major), int(minor)


def _server_version(connection: Connection) -> Version:
    url = connection.address.url
    server = connection.call(connection.client.http.service_api.root, tries=FIRST_TRIES)
    try:
        version = parse_version(server.version)
    except ValueError as error:
        raise ServerRefused(f"{url} says that it is {server.title} {server.version}") from error
    if version < OLDEST:
        raise ServerRefused(
            f"{url} is Qdrant {server.version}, docrag needs {version_text(OLDEST)} or later",
            "upgrade the server, best to 1.19 or later",
        )
    return version


def _grpc_answers(address: Address, api_key: str, port: int, certificates: TrustedCertificates) -> bool:
    """Whether Qdrant answers by gRPC in time; firewalls and proxies often let only REST through."""
    metadata = [("api-key", api_key)] if api_key else []
    host = f"[{address.host}]" if ":" in address.host else address.host
    options = {**CHANNEL_OPTIONS, **certificates.grpc_options}
    channel = get_channel(host, port, address.secure, metadata, options)
    try:
        stub = proto.QdrantStub(channel)  # type: ignore[no-untyped-call]
        stub.HealthCheck(proto.HealthCheckRequest(), timeout=GRPC_PROBE_TIMEOUT)
    except grpc.RpcError as error:
        logger.info("no gRPC at %s:%d, using REST: %s", host, port, error.code())
        return False
    finally:
        channel.close()
    return True


_exponential = wait_exponential(multiplier=0.5, max=30) + wait_random(0, 0.5)


def _failure_in(state: RetryCallState) -> _Temporary:
    failed = state.outcome.exception() if state.outcome else None
    assert isinstance(failed, _Temporary)
    return failed


def _wait_seconds(state: RetryCallState) -> float:
    retry_after = _failure_in(state).retry_after
    return _exponential(state) if retry_after is None else retry_after + random.uniform(0, 1)


def _log_retry(state: RetryCallState) -> None:
    logger.info(
        "retrying in %.1f seconds (try %d failed): %s",
        state.upcoming_sleep,
        state.attempt_number,
        _failure_in(state).error.message,
    )
