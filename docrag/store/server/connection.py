"""A connection to a Qdrant server: gRPC where it answers, retries where they may help, errors with names."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, Self, TypeVar

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
from docrag.store.server.failures import KINDS, NOT_FOUND, Failure, failure_of
from docrag.store.server.tls import Trust
from docrag.store.server.wire import GrpcWire, JsonWire, ModelWire, Wire

TIMEOUT = 60
"""Seconds for one request; the client's own 5 are too short for 8 MiB, and for a first query from disk."""
TRIES = 6
"""Requests in all; the waits between them are about 0.5, 1, 2, 4 and 8 seconds: a restart of the server."""
FIRST_TRIES = 2
"""Requests in all for the first one, so that a wrong address is told soon."""
LONGEST_ASKED = 60.0
"""Seconds that are waited because the server asks for it; what asks for more is an error."""
PROBE = 2.0
"""Seconds that gRPC may take to answer before REST is used."""

CHANNEL = {"grpc.initial_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 1000}
"""gRPC refuses calls between its own attempts to connect, which would come to be two minutes apart: a server
that is back would be missed by every try."""

Version = tuple[int, int]
OLDEST: Version = (1, 16)
"""The first server that keeps metadata with a collection, where the fingerprint is."""

Result = TypeVar("Result")


class _Passing(Exception):
    """A request failed in a way that may pass; no error yet, since another try may help."""

    def __init__(self, error: ServerUnreachable, asked: float | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.asked = asked


class Connection:
    """A client of one server, for one address; several threads may use it at once. Make it with `connect`.

    Args:
        address: Of the collection.
        client: qdrant-client.
        wire: How points are sent.
        version: Of the server, major and minor.
        secret: The key, which no error repeats.
        sleep: Waits; tests give another.
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

    @classmethod
    def in_memory(cls, collection: str, client: QdrantClient | None = None) -> Self:
        """The client's local mode, for tests: no server, the same methods, far slower than edge."""
        client = client or QdrantClient(":memory:")
        version = parse_version(client.info().version)
        return cls(Address("memory", "memory", 0, collection), client, ModelWire(client), version)

    def call(self, do: Callable[[], Result], *, tries: int = TRIES) -> Result:
        """What `do` returns, tried again after lost connections, timeouts, 429 and 5xx.

        Args:
            do: Calls the client; it may be called again after it did its work and the answer was lost.
            tries: Calls in all.

        Raises:
            ServerUnreachable: All tries failed so.
            ServerRefused: The server said no.
        """
        retrying = Retrying(
            sleep=self._sleep,
            stop=stop_after_attempt(tries),
            wait=_wait,
            retry=retry_if_exception_type(_Passing),
            reraise=True,
        )
        try:
            result: Result = retrying(self._once, do)
        except _Passing as passing:
            raise passing.error from passing.__cause__
        return result

    def info(self, collection: str) -> models.CollectionInfo | None:
        """What the server tells about a collection, or the one behind an alias; None where there is none."""
        try:
            return self.call(lambda: self.client.get_collection(collection))
        except ServerRefused as refused:
            if refused.status == NOT_FOUND:
                return None
            raise

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def _once(self, do: Callable[[], Result]) -> Result:
        try:
            return do()
        except KINDS as error:
            raise self._named(failure_of(error)) from error

    def _named(self, failure: Failure) -> Exception:
        where = self.address.url
        words = failure.words.replace(self._secret, "***") if self._secret else failure.words
        answered = f" answered {failure.status}" if failure.answered else ""
        message = f"{where}{answered}: {words}"
        if failure.untrusted:
            return ServerUnreachable(message, failure.hint)
        if not failure.passing:
            return ServerRefused(message, failure.hint, failure.status)
        error = ServerUnreachable(message, failure.hint)
        if failure.asked is not None and failure.asked > LONGEST_ASKED:
            return ServerUnreachable(message, f"it asks to be left alone for {failure.asked:.0f} seconds")
        return _Passing(error, failure.asked)


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
        address: Of the collection, which need not exist.
        api_key: Of the server; empty where it needs none.
        prefer_grpc: Whether gRPC is used where it answers: half the bytes, and no numbers written as text.
        grpc_port: By default 6334 where the address has port 6333, else gRPC is not looked for, since another
            server might answer.
        ca_file: Certificates (PEM) to trust with https, by both; by default SSL_CERT_FILE, else the usual.
        timeout: Seconds for one request.
        sleep: Waits; tests give another.
        http: For httpx, such as `transport`.

    Raises:
        SettingsError: The key cannot be one, or the file holds no certificates.
        ServerUnreachable: Nobody answers, or the server's certificate is not to be trusted.
        ServerRefused: The key is wrong, it is not Qdrant, or too old.
    """
    api_key = checked_key(api_key)
    trust = Trust.read(ca_file) if address.secure else Trust()
    port = grpc_port or (GRPC_PORT if address.port == REST_PORT else 0)

    def client(with_grpc: bool) -> QdrantClient:
        return QdrantClient(
            url=address.url,
            grpc_port=port or GRPC_PORT,
            prefer_grpc=with_grpc,
            timeout=timeout,
            # Not as `api_key`, with which the client warns of http even on this machine.
            headers={"api-key": api_key} if api_key else None,
            check_compatibility=False,
            grpc_options={**CHANNEL, **trust.for_grpc},
            **{**trust.for_rest, **http},
        )

    plain = client(with_grpc=False)
    connection = Connection(address, plain, JsonWire(plain), secret=api_key, sleep=sleep)
    try:
        connection.version = _server_version(connection)
        # Only now: what is wrong with an address or a certificate, gRPC does not say.
        if prefer_grpc and port and _grpc_answers(address, api_key, port, trust):
            connection.close()
            connection.client = client(with_grpc=True)
            connection.wire = GrpcWire(connection.client, timeout)
    except BaseException:
        connection.close()
        raise
    return connection


def parse_version(version: str) -> Version:
    """Major and minor number.

    >>> parse_version("1.19.0-dev")
    (1, 19)
    """
    major, minor, *_ = version.split(".")
    return int(major), int(minor)


def _server_version(connection: Connection) -> Version:
    where = connection.address.url
    told = connection.call(connection.client.http.service_api.root, tries=FIRST_TRIES)
    try:
        version = parse_version(told.version)
    except ValueError as error:
        raise ServerRefused(f"{where} says that it is {told.title} {told.version}") from error
    if version < OLDEST:
        raise ServerRefused(
            f"{where} is Qdrant {told.version}, docrag needs {OLDEST[0]}.{OLDEST[1]} or later",
            "run a newer Qdrant there, 1.19 or later at best",
        )
    return version


def _grpc_answers(address: Address, api_key: str, port: int, trust: Trust) -> bool:
    """Whether Qdrant answers by gRPC within a moment; firewalls and proxies often let only REST through."""
    metadata = [("api-key", api_key)] if api_key else []
    host = f"[{address.host}]" if ":" in address.host else address.host
    channel = get_channel(host, port, address.secure, metadata, trust.for_grpc)
    try:
        stub = proto.QdrantStub(channel)  # type: ignore[no-untyped-call]
        stub.HealthCheck(proto.HealthCheckRequest(), timeout=PROBE)
    except grpc.RpcError:
        return False
    finally:
        channel.close()
    return True


_exponential = wait_exponential(multiplier=0.5, max=30) + wait_random(0, 0.5)


def _wait(state: RetryCallState) -> float:
    passing = state.outcome and state.outcome.exception()
    assert isinstance(passing, _Passing)
    return _exponential(state) if passing.asked is None else passing.asked + random.uniform(0, 1)
