"""A way to a server that breaks: a proxy of TCP on this machine, for REST and for gRPC."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Self


@dataclass(frozen=True)
class Break:
    """What becomes of the connection, and when."""

    way: Literal["there", "back"]
    """To the server, or from it."""
    after: int
    """Bytes that went this way since the break before; they are the last that arrive."""
    stall: float = 0
    """Seconds in which nothing more goes this way, after which all goes on; 0 closes the connection."""


class Proxy:
    """Carries bytes between its own port and that of a server.

    Args:
        port: Of the server, on this machine.
        delay: Seconds that everything takes each way, as on a long way to the server.
    """

    def __init__(self, port: int, delay: float = 0) -> None:
        self.breaks: list[Break] = []
        self.broken = 0
        """Breaks that took place."""
        self.returned = 0
        """Bytes that came from the server."""
        self._to = port
        self._delay = delay
        self._most = 2**20 if delay else 4096
        self._carried = 0
        self._lock = threading.Lock()
        self._links: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._port = 0
        self._door: socket.socket | None = None
        self._going = threading.Event()
        self._going.set()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port}/reports"

    @property
    def port(self) -> int:
        return self._port

    def open(self) -> None:
        """Listen, on the same port as before."""
        self._door = socket.create_server(("127.0.0.1", self._port))
        self._port = self._door.getsockname()[1]
        self._start(self._accept, self._door)

    def shut(self) -> None:
        """Refuse connections, and close those that are there: the server is gone."""
        self._going.set()
        if self._door:
            with suppress(OSError):
                self._door.shutdown(socket.SHUT_RDWR)
            self._door.close()
            self._door = None
        _close(*self._links)
        self._links.clear()

    def hang(self) -> None:
        """Take connections and bytes, and pass nothing on: the server is stopped by SIGSTOP."""
        self._going.clear()

    def go_on(self) -> None:
        """Pass on what came meanwhile, and go on."""
        self._going.set()

    def plan(self, *breaks: Break) -> None:
        """Break connections in this order, counting bytes from now on."""
        with self._lock:
            self.breaks[:] = breaks
            self._carried = 0

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()
        for thread in self._threads:
            thread.join()

    def _accept(self, door: socket.socket) -> None:
        with suppress(OSError):  # the door was shut
            while True:
                near, _ = door.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._links += [near, far]
                self._start(self._carry, near, far, "there")
                self._start(self._carry, far, near, "back")

    def _carry(self, source: socket.socket, target: socket.socket, way: str) -> None:
        try:
            while data := source.recv(self._most):
                time.sleep(self._delay)
                self._going.wait()
                while data:
                    arrives, stall = self._share(way, len(data))
                    target.sendall(data[:arrives])
                    if stall == 0:
                        return
                    time.sleep(stall or 0)
                    data = data[arrives:]
        except OSError:
            pass  # the other one hung up
        finally:
            _close(source, target)

    def _share(self, way: str, size: int) -> tuple[int, float | None]:
        """How much of some data arrives before the next break, and how long that one lasts."""
        with self._lock:
            self.returned += size if way == "back" else 0
            if not self.breaks or self.breaks[0].way != way:
                return size, None
            left = self.breaks[0].after - self._carried
            if size <= left:
                self._carried += size
                return size, None
            self.broken, self._carried = self.broken + 1, 0
            return left, self.breaks.pop(0).stall

    def _start(self, do: object, *given: object) -> None:
        thread = threading.Thread(target=do, args=given)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()


def _close(*links: socket.socket) -> None:
    for link in links:
        with suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)
        link.close()
