"""A small HTTP server on this machine that stands in for a model behind an address."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Request:
    """What came in."""

    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: Any
    """Parsed JSON."""


@dataclass(frozen=True)
class Answer:
    """What goes out."""

    status: int = 200
    body: Any = field(default_factory=dict)
    """A string goes out as it is, all else as JSON, NaN included."""
    headers: dict[str, str] = field(default_factory=dict)
    after: float = 0
    """Seconds before it goes out."""
    drop: bool = False
    """Close the connection instead."""


class ModelServer:
    """Answers what is scripted, then what a function makes of each request; keeps all requests.

    Args:
        answer: For the requests after the script.
        script: For the first requests, in the order in which they come.
    """

    def __init__(self, answer: Callable[[Request], Answer], script: Iterable[Answer] = ()) -> None:
        self.requests: list[Request] = []
        self.most_at_once = 0
        self._answer = answer
        self._script = list(script)
        self._lock = threading.Lock()
        self._at_once = 0
        self._stopping = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        """The base address that a client is given."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def receive(self, request: Request) -> Answer:
        """Keep a request and say what it is answered, when it is time to."""
        with self._lock:
            self.requests.append(request)
            scripted = self._script.pop(0) if self._script else None
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        answer = scripted or self._answer(request)
        self._stopping.wait(answer.after)
        with self._lock:
            self._at_once -= 1
        return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for them

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is part of the tests."""


def _handler(server: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = server.receive(Request(self.path, headers, json.loads(content)))
            if answer.drop:
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            body = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(body.encode())), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
