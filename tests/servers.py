"""A small local HTTP server that stands in for a model behind an API."""

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
    """A request that the server received."""

    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: Any
    """Parsed JSON."""


@dataclass(frozen=True)
class Answer:
    """What the server answers."""

    status: int = 200
    body: Any = field(default_factory=dict)
    """A string is sent unchanged, everything else as JSON, NaN included."""
    headers: dict[str, str] = field(default_factory=dict)
    after: float = 0
    """Seconds before it is sent."""
    drop: bool = False
    """Whether to close the connection instead of answering."""


class ModelServer:
    """Answers the first requests from a script and later ones by a function; keeps all requests.

    Args:
        answer: Makes the answer to a request after the script has ended.
        script: The answers to the first requests, in the order in which they arrive.
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
        """Return the base address for a client."""
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
        """Keep a request, wait as long as its answer says, and return that answer."""
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
    daemon_threads = False  # closing the server waits for its threads

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that closed their connection, as some tests want."""


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
