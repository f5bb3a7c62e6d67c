"""A connection to a Qdrant server: gRPC if it answers, retries when they may help, docrag's own errors."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import grpc  # type: ignore[import-untyped]
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as proto
from qdrant_client.connection import get_channel
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
)

from docrag.common.http import checked_key
from docrag.common.time_limit import is_patient, may_try_again, seconds_left, time_limit
from docrag.errors import ServerRefused, ServerUnreachable, StorageFull
from docrag.store.server.address import GRPC_PORT, REST_PORT, Address
from docrag.store.server.failures import CLIENT_ERRORS, NOT_FOUND, Failure, failure_of
from docrag.store.server.nodes import Nodes, NodesChannel
from docrag.store.server.schema import version_text
from docrag.store.server.tls import TrustedCertificates
from docrag.store.server.wire import GrpcWire, JsonWire, Wire

logger = logging.getLogger(__name__)

TIMEOUT = 60
"""Seconds for one try; the client's default of 5 is too short for 8 MiB, or a query from a cold disk."""
READ_TIMEOUT = 30.0
"""Seconds for a request that changes nothing with all its tries; the default of `server_timeout`."""
WRITE_TIMEOUT = 300.0
"""Seconds for any other request with all its tries; the default of `server_write_timeout`."""
TRIES = 8
"""How often a request is sent at most that the server answers with an error; the waits between are about 0.5,
1, 2, 4, 8, 16 and 30 seconds. A server that does not answer may be restarting, and is asked again until the
time of the request is over."""
TRIES_WHEN_AWAY = 3
"""How often a request is sent at most after another one was given up since the server did not answer: for
about two seconds, in which gRPC connects again if the server is back."""
FIRST_TRIES = 2
"""How often the first request of a connection is sent, so that a wrong address is reported soon."""
MAX_RETRY_AFTER = 60.0
"""The longest wait in seconds that a server can ask for; a longer one is an error."""
_LONGEST_WAIT = 30.0
"""The longest wait in seconds between two tries, unless the server asks for another one."""
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

_CHANNELS = 3
"""Connections by gRPC to each machine, as many as the client makes by itself."""

Version = tuple[int, int]
OLDEST: Version = (1, 16)
"""The first version that stores metadata with a collection, where docrag keeps the fingerprint."""

Result = TypeVar("Result")


class _Temporary(Exception):
    """A request failed, but the next try may succeed.

    Args:
        error: What to raise after the last try.
        retry_after: Seconds to wait, if the server named them.
        is_away: Whether there was no answer.
    """

    def __init__(self, error: ServerUnreachable, retry_after: float | None, *, is_away: bool) -> None:
        super().__init__(str(error))
        self.is_away = is_away
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
        nodes: The machines of the address, to which the client's requests are directed.
        read_timeout: Seconds for `read`, all tries together.
        write_timeout: Seconds for `call`, all tries together.
    """

    def __init__(
        self,
        address: Address,
        client: QdrantClient,
        wire: Wire,
        version: Version = OLDEST,
        secret: str = "",
        sleep: Callable[[float], None] = time.sleep,
        *,
        nodes: Nodes | None = None,
        read_timeout: float = READ_TIMEOUT,
        write_timeout: float = WRITE_TIMEOUT,
    ) -> None:
        self.address = address
        self.client = client
        self.wire = wire
        self.version = version
        self._secret = secret
        self._sleep = sleep
        self._nodes = nodes or Nodes(address)
        self._read_timeout = read_timeout
        self._write_timeout = write_timeout
        self._gave_up = False
        """Whether a request was given up since the server did not answer, and none was answered since."""

    def call(self, do: Callable[[], Result], *, tries: int | None = None) -> Result:
        """Return what `do` returns; try again after lost connections, timeouts, status 408, 429 and 5xx.

        All tries together take `write_timeout` at most, and less under a `time_limit`. If the address names
        several machines, the others are tried at once.

        Args:
            do: Calls the client. It may be repeated although it succeeded, if the answer was lost.
            tries: How often to call it at most, on each machine. By default `TRIES`, and without limit while
                there is no answer.

        Raises:
            ServerUnreachable: No try succeeded.
            ServerRefused: The server refused the request.
            StorageFull: The server's disk is full.
        """
        with time_limit(self._write_timeout):
            return self._call(do, tries)

    def read(self, do: Callable[[], Result], *, tries: int | None = None) -> Result:
        """Do the same as `call` for a request that changes nothing, within `read_timeout`.

        Work that is marked by `patience` waits as long as for `call`.
        """
        with time_limit(self._write_timeout if is_patient() else self._read_timeout):
            return self._call(do, tries)

    def info(self, collection: str) -> models.CollectionInfo | None:
        """Return the server's description of a collection or alias; None if there is none."""
        try:
            return self.read(lambda: self.client.get_collection(collection))
        except ServerRefused as refused:
            if refused.status == NOT_FOUND:
                return None
            raise

    def close(self) -> None:
        """Close the client's connections."""
        self.client.close()

    def _call(self, do: Callable[[], Result], tries: int | None) -> Result:
        retrying = Retrying(
            sleep=self._sleep,
            stop=partial(self._should_give_up, tries),
            wait=self._wait_seconds,
            before_sleep=_log_retry,
            retry=retry_if_exception_type(_Temporary),
            reraise=True,
        )
        try:
            result: Result = retrying(self._once, do)
        except _Temporary as failed:
            was_repeated = retrying.statistics["attempt_number"] > len(self._nodes)
            self._gave_up = self._gave_up or (failed.is_away and was_repeated)
            raise failed.error from failed.__cause__
        self._gave_up = False
        return result

    def _should_give_up(self, tries: int | None, state: RetryCallState) -> bool:
        """Whether a request that failed is not made again."""
        if not may_try_again(state.upcoming_sleep):
            return True
        if self._gave_up and not is_patient():  # others have waited in vain: who asks now is told so soon
            return state.attempt_number >= TRIES_WHEN_AWAY * len(self._nodes)
        if tries is None and _failure_in(state).is_away:
            return state.idle_for + state.upcoming_sleep > self._write_timeout
        return state.attempt_number >= (tries or TRIES) * len(self._nodes)

    def _once(self, do: Callable[[], Result]) -> Result:
        if seconds_left() <= 0:
            raise self._to_error(Failure.no_time())
        node = self._nodes.number
        try:
            return do()
        except CLIENT_ERRORS as error:
            failure = failure_of(error)
            if failure.machine_failed:
                self._nodes.move_on(node)
            raise self._to_error(failure) from error

    def _to_error(self, failure: Failure) -> Exception:
        detail = failure.message.replace(self._secret, "***") if self._secret else failure.message
        answered = f" answered {failure.status}" if failure.answered else ""
        message = f"{self.address.url}{answered}: {detail}"
        if failure.tls_failed:
            return ServerUnreachable(message, failure.hint)
        if failure.disk_full:
            return StorageFull(message, failure.hint)
        if not failure.temporary:
            return ServerRefused(message, failure.hint, failure.status)
        if failure.retry_after is not None and failure.retry_after > MAX_RETRY_AFTER:
            hint = f"the server asks to wait {failure.retry_after:.0f} seconds before the next request"
            return ServerUnreachable(message, hint)
        is_away = not failure.answered
        return _Temporary(ServerUnreachable(message, failure.hint), failure.retry_after, is_away=is_away)

    def _wait_seconds(self, state: RetryCallState) -> float:
        """Return the seconds until the next try: none while another machine has not been tried."""
        failed = _failure_in(state)
        if failed.retry_after is not None:
            return failed.retry_after + random.uniform(0, 1)
        rounds, machine = divmod(state.attempt_number, len(self._nodes))
        if machine and failed.is_away:
            return 0.0
        return min(0.5 * 2.0 ** max(0, rounds - 1), _LONGEST_WAIT) + random.uniform(0, 0.5)


def connect(
    address: Address,
    api_key: str = "",
    *,
    prefer_grpc: bool = True,
    grpc_port: int | None = None,
    ca_file: str = "",
    timeout: int = TIMEOUT,
    read_timeout: float = READ_TIMEOUT,
    write_timeout: float = WRITE_TIMEOUT,
    sleep: Callable[[float], None] = time.sleep,
    **http: Any,
) -> Connection:
    """Connect to a server and ask for its version.

    Args:
        address: The address of the collection, which need not exist. If it names several machines, the first
            that answers is taken, and another one when that does not answer any more.
        api_key: The server's API key; empty if it needs none.
        prefer_grpc: Whether to use gRPC if it answers: it sends half the bytes, and no numbers as text.
        grpc_port: The port of gRPC. By default it is 6334 if the address has port 6333; beside another port,
            and behind a path, gRPC is not tried, since a different server might answer.
        ca_file: Certificates (PEM) to trust with https, for REST and gRPC; by default those in the file that
            SSL_CERT_FILE names, else those that httpx and gRPC trust by themselves.
        timeout: Seconds for one try.
        read_timeout: Seconds for a request that changes nothing, all tries together.
        write_timeout: Seconds for any other request, all tries together.
        sleep: How to wait between tries; tests pass another function.
        http: Arguments for httpx, such as `transport`.

    Raises:
        SettingsError: The API key holds characters that cannot be sent, or the file holds no certificates.
        ServerUnreachable: Nothing answers, or the server's certificate is not trusted.
        ServerRefused: The API key is wrong, or the server is not Qdrant or is too old.
    """
    api_key = checked_key(api_key)
    certificates = TrustedCertificates.read(ca_file) if address.secure else TrustedCertificates()
    port = grpc_port or _usual_grpc_port(address)
    nodes = Nodes(address)
    grpc_options = {**CHANNEL_OPTIONS, **certificates.grpc_options}

    make_client = partial(
        _make_client,
        nodes,
        url=address.nodes[0].url,
        grpc_port=port or GRPC_PORT,
        timeout=timeout,
        api_key=api_key,
        grpc_options=grpc_options,
        http={**certificates.rest_options, **http},
    )
    client = make_client(prefer_grpc=False)
    connection = Connection(
        address,
        client,
        JsonWire(client),
        secret=api_key,
        sleep=sleep,
        nodes=nodes,
        read_timeout=read_timeout,
        write_timeout=write_timeout,
    )
    try:
        connection.version = _server_version(connection)
        # REST comes first: gRPC does not say what is wrong with an address or a certificate.
        if prefer_grpc and port and _grpc_answers(nodes.current, api_key, port, certificates):
            connection.close()
            connection.client = make_client(prefer_grpc=True)
            _use_channels(connection.client, nodes, address, port, api_key, grpc_options)
            connection.wire = GrpcWire(connection.client, timeout)
    except BaseException:
        connection.close()
        raise
    logger.info(
        "connected to %s by %s: Qdrant %s",
        nodes.current.url,
        "gRPC" if isinstance(connection.wire, GrpcWire) else "REST",
        version_text(connection.version),
    )
    return connection


def _make_client(
    nodes: Nodes,
    *,
    url: str,
    grpc_port: int,
    prefer_grpc: bool,
    timeout: int,
    api_key: str,
    grpc_options: dict[str, Any],
    http: dict[str, Any],
) -> QdrantClient:
    """Make a client whose requests by REST go to the current one of several machines."""
    return QdrantClient(
        url=url,
        grpc_port=grpc_port,
        prefer_grpc=prefer_grpc,
        timeout=timeout,
        # Not as `api_key`: the client would then warn about http even on this machine.
        headers={"api-key": api_key} if api_key else None,
        check_compatibility=False,
        grpc_options=dict(grpc_options),  # the client adds to it
        event_hooks={"request": [nodes.direct]},
        **http,
    )


def _usual_grpc_port(address: Address) -> int:
    """The port of gRPC where none is given; 0 if it is not to be tried."""
    is_plain = not address.prefix and all(node.port == REST_PORT for node in address.nodes)
    return GRPC_PORT if is_plain else 0


def _use_channels(
    client: QdrantClient,
    nodes: Nodes,
    address: Address,
    port: int,
    api_key: str,
    options: dict[str, Any],
) -> None:
    """Let a client make its calls by gRPC on channels to all machines, within the time that is left.

    The client offers no other way to set the time of a single call than an argument of each method. Should
    it keep its channels elsewhere one day, it makes its own: calls then take `timeout` seconds at most.
    """
    remote: Any = client._client
    metadata = [("api-key", api_key)] if api_key else []
    remote._grpc_channel_pool = [
        NodesChannel(
            [get_channel(_grpc_host(node), port, node.secure, metadata, options) for node in address.nodes],
            nodes,
        )
        for _ in range(_CHANNELS)
    ]


def _grpc_host(node: Address) -> str:
    return f"[{node.host}]" if ":" in node.host else node.host


def parse_version(version: str) -> Version:
    """Return the major and minor number of a version.

    >>> parse_version("1.19.0-dev")
    (1, 19)
    """
    major, minor, *_ = version.split(".")
    return int(major), int(minor)


def _server_version(connection: Connection) -> Version:
    url = connection.address.url
    server = connection.read(connection.client.http.service_api.root, tries=FIRST_TRIES)
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
    host = _grpc_host(address)
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


def _failure_in(state: RetryCallState) -> _Temporary:
    failed = state.outcome.exception() if state.outcome else None
    assert isinstance(failed, _Temporary)
    return failed


def _log_retry(state: RetryCallState) -> None:
    logger.info(
        "retrying in %.1f seconds (try %d failed): %s",
        state.upcoming_sleep,
        state.attempt_number,
        _failure_in(state).error.message,
    )
