"""Which machine of a cluster a request goes to, and how long it may take, for REST and gRPC alike."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]

from docrag.common.time_limit import seconds_left
from docrag.store.server.address import Address

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

_SHORTEST = 1.0
"""Seconds that a request has at least, where the time left is shared between several machines."""


class Nodes:
    """The machines that an address names. Requests go to one of them until it does not answer.

    Args:
        address: The address of the index.
    """

    def __init__(self, address: Address) -> None:
        self._addresses = address.nodes
        self._current = 0

    def __len__(self) -> int:
        return len(self._addresses)

    @property
    def number(self) -> int:
        """The number of the machine to which requests go, from 0."""
        return self._current

    @property
    def current(self) -> Address:
        """The address of that machine."""
        return self._addresses[self._current]

    def move_on(self, failed: int) -> None:
        """Send requests to the next machine, unless another thread has moved on from this one already.

        Args:
            failed: The number of the machine that did not answer.
        """
        if len(self) > 1 and self._current == failed:
            self._current = (failed + 1) % len(self)
            logger.info("%s did not answer, going on with %s", self._addresses[failed].url, self.current.url)

    def shorten(self, timeout: float | None) -> float | None:
        """Return the seconds that a request may take: those given, or fewer if less time is left.

        With several machines, each one gets its share of that time.
        """
        left = seconds_left()
        if math.isinf(left):
            return timeout
        if len(self) > 1:
            left = min(left, max(_SHORTEST, left / len(self)))
        return left if timeout is None else min(timeout, left)

    def direct(self, request: httpx.Request) -> None:
        """Send a request by REST to the current machine, in the time that is left. A hook of httpx."""
        if len(self) > 1:
            node = self.current
            request.url = request.url.copy_with(host=node.host, port=node.port)
            request.headers["Host"] = request.url.netloc.decode()
        timeouts = request.extensions.get("timeout", {})
        request.extensions["timeout"] = {phase: self.shorten(limit) for phase, limit in timeouts.items()}


class NodesChannel(grpc.Channel):  # type: ignore[misc]
    """A channel of gRPC whose calls go to the current one of several machines, in the time that is left.

    Args:
        channels: One for each machine, in their order.
        nodes: The machines.
    """

    def __init__(self, channels: Sequence[grpc.Channel], nodes: Nodes) -> None:
        self._channels = channels
        self._nodes = nodes

    def unary_unary(self, *args: Any, **options: Any) -> Callable[..., Any]:
        """Return the function that makes one kind of call; all calls of Qdrant are of this form."""
        calls = [channel.unary_unary(*args, **options) for channel in self._channels]

        def call(request: Any, timeout: float | None = None, **options: Any) -> Any:
            return calls[self._nodes.number](request, timeout=self._nodes.shorten(timeout), **options)

        return call

    def unary_stream(self, *args: Any, **options: Any) -> Any:
        """Make calls of the other forms on the first machine; Qdrant has none."""
        return self._channels[0].unary_stream(*args, **options)

    def stream_unary(self, *args: Any, **options: Any) -> Any:
        """Make calls of the other forms on the first machine; Qdrant has none."""
        return self._channels[0].stream_unary(*args, **options)

    def stream_stream(self, *args: Any, **options: Any) -> Any:
        """Make calls of the other forms on the first machine; Qdrant has none."""
        return self._channels[0].stream_stream(*args, **options)

    def subscribe(self, callback: Callable[..., Any], try_to_connect: bool | None = False) -> None:
        """Watch the connection to the first machine."""
        self._channels[0].subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Callable[..., Any]) -> None:
        """Stop watching it."""
        self._channels[0].unsubscribe(callback)

    def close(self) -> None:
        """Close all channels."""
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> NodesChannel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
