"""A server in a thread of this process, and clients of it."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from docrag.common.rpc.client import Client, RpcConnection
from docrag.common.rpc.codec import Codec
from docrag.common.rpc.frames import ConnectionLost, receive_message, send_message
from docrag.common.rpc.peers import peer_of
from docrag.common.rpc.server import Server, Session
from docrag.errors import IndexNotFound, ServerRefused, StoreError

CODEC = Codec(())
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # that it forks


def echo(session: Session, value: Any) -> Any:
    return value


def who(session: Session) -> tuple[int, int]:
    return session.peer.pid, session.peer.uid


def fail(session: Session, kind: str) -> None:
    if kind == "refused":
        raise ServerRefused("no", "ask again", 403)
    if kind == "missing":
        raise IndexNotFound("there is none", "make one")
    raise ZeroDivisionError(kind)


def sleep(session: Session, seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


def unsendable(session: Session) -> object:
    return object()


class Panic(BaseException):
    """Like the panics of the engine, which are no exceptions that one would catch."""


def panic(session: Session) -> None:
    raise Panic("poisoned")


HANDLERS = {"echo": echo, "who": who, "fail": fail, "sleep": sleep, "unsendable": unsendable, "panic": panic}


@pytest.fixture
def address(tmp_path: Path) -> Path:
    return tmp_path / "socket"


@pytest.fixture
def serve(address: Path) -> Iterator[Callable[[], Server]]:
    """Starts a server at the address; all are stopped at the end."""
    servers: list[Server] = []

    def start() -> Server:
        address.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(address))
        listening.listen()
        server = Server(listening, CODEC, HANDLERS)
        threading.Thread(target=server.serve, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        end(server)


def end(server: Server) -> None:
    """End a server as a kill would: its connections are closed, too."""
    server.stop(1)
    for session in server.sessions():
        with session.connection, suppress(OSError):  # it may be closing itself
            session.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def client(address: Path) -> Iterator[Client]:
    def connect() -> RpcConnection:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            opened.connect(str(address))
        except OSError as error:
            opened.close()
            raise ConnectionLost(str(error)) from error
        return RpcConnection(opened, CODEC)

    made = Client(connect, lambda reason: StoreError(f"broken: {reason}", "look"))
    yield made
    made.close()


def test_calls_and_their_errors(serve: Callable[[], Server], client: Client):
    serve()
    assert client.call("echo", {"a": (1, b"x" * 200_000)}) == {"a": (1, b"x" * 200_000)}
    assert client.call("who") == (os.getpid(), os.getuid())
    with pytest.raises(IndexNotFound) as missing:
        client.call("fail", "missing")
    assert (missing.value.message, missing.value.hint) == ("there is none", "make one")
    with pytest.raises(ServerRefused) as refused:
        client.call("fail", "refused")
    assert refused.value.status == 403
    with pytest.raises(StoreError, match="ZeroDivisionError: by nothing"):
        client.call("fail", "by nothing")
    with pytest.raises(StoreError, match="there is no method nonsense"):
        client.call("nonsense")


def test_many_threads_call_at_once(serve: Callable[[], Server], client: Client):
    server = serve()
    answers: list[int] = []

    def call(number: int) -> None:
        for _ in range(20):
            assert client.call("echo", number) == number
        answers.append(number)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(16))
    assert len(server.sessions()) <= 16


def test_a_call_is_repeated_when_the_other_process_has_ended(serve: Callable[[], Server], client: Client):
    first = serve()
    assert client.call("echo", 1) == 1
    end(first)
    serve()
    assert client.call("echo", 2) == 2


def test_a_process_that_stays_away_is_an_error_that_says_why(
    address: Path, client: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("docrag.common.rpc.client.PATIENCE", 0.0)
    with pytest.raises(StoreError, match=r"broken: .*No such file"):
        client.call("echo", 1)


def test_a_child_connects_anew(serve: Callable[[], Server], client: Client):
    serve()
    assert client.call("who")[0] == os.getpid()
    child = os.fork()
    if not child:
        os._exit(0 if client.call("who")[0] == os.getpid() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert client.call("who")[0] == os.getpid()


def test_the_server_knows_when_nobody_uses_it(serve: Callable[[], Server], client: Client):
    server = serve()
    client.call("echo", 1)
    assert server.idle_seconds() == 0
    client.close()
    deadline = time.monotonic() + 10
    while server.sessions() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.idle_seconds() > 0


def test_a_server_that_stops_finishes_what_it_has_begun(serve: Callable[[], Server], client: Client):
    server = serve()
    answers: list[str] = []
    caller = threading.Thread(target=lambda: answers.append(client.call("sleep", 0.5)))
    caller.start()
    while not server.sessions():
        time.sleep(0.01)
    time.sleep(0.1)
    server.stop(10)
    caller.join(0.2)
    assert answers == ["slept"]


def test_what_is_no_message_is_not_read():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(ConnectionLost, match="does not send docrag's messages"):
            receive_message(ours)


def test_buffers_begin_where_arrays_may_begin():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send_message(theirs, b"{}", [b"a", b"bc" * 9, b""])
        header, buffers = receive_message(ours)
    assert (header, [bytes(buffer) for buffer in buffers]) == (b"{}", [b"a", b"bc" * 9, b""])
    assert buffers[1].obj is buffers[0].obj


def test_the_kernel_says_who_is_at_the_other_end():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_of(ours) == (os.getpid(), os.getuid())


def test_a_server_that_stops_begins_no_call_and_ends_those_that_run(
    serve: Callable[[], Server], address: Path, client: Client
):
    first = serve()
    assert client.call("echo", 1) == 1  # a connection that is open and idle
    busy = RpcConnection(connected(address), CODEC)
    answers: list[object] = []
    thread = threading.Thread(target=lambda: answers.append(busy.call("sleep", 0.5)))
    thread.start()
    while not first._running:
        time.sleep(0.01)
    started = time.monotonic()
    first.stop(10)
    assert time.monotonic() - started < 5
    thread.join()
    assert answers == ["slept"]
    serve()
    assert client.call("echo", 2) == 2  # made again, because the first server did not begin it
    with busy.socket, pytest.raises(ConnectionLost):
        busy.call("echo", 3)


def test_a_server_without_descriptors_takes_connections_again_later(
    serve: Callable[[], Server], client: Client, monkeypatch: pytest.MonkeyPatch
):
    failures = [OSError(errno.EMFILE, "Too many open files")] * 2
    accept = socket.socket.accept

    def fail_at_first(listening: socket.socket) -> Any:
        if failures:
            raise failures.pop()
        return accept(listening)

    monkeypatch.setattr(socket.socket, "accept", fail_at_first)
    serve()
    assert client.call("echo", 1) == 1
    assert not failures


def test_an_answer_that_cannot_be_sent_and_a_panic_are_errors(serve: Callable[[], Server], client: Client):
    serve()
    with pytest.raises(StoreError, match="object cannot be sent to another process"):
        client.call("unsendable")
    with pytest.raises(StoreError, match="Panic: poisoned"):
        client.call("panic")
    assert client.call("echo", 1) == 1


def test_garbage_ends_its_own_connection_only(serve: Callable[[], Server], address: Path, client: Client):
    serve()
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"drg1" + b"\xff" * 64, b"drg1\2\0\0\0\0\0\0\0{]"):
        with connected(address) as other:
            other.sendall(garbage)
            other.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                while other.recv(4096):
                    pass
    assert client.call("echo", 1) == 1


def connected(address: Path) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    opened.connect(str(address))
    return opened


def test_a_closed_client_leaves_no_connection(serve: Callable[[], Server], client: Client):
    server = serve()
    caller = threading.Thread(target=client.call, args=("sleep", 0.5))
    caller.start()
    while not server._running:
        time.sleep(0.01)
    client.close()
    caller.join()
    deadline = time.monotonic() + 10
    while server.sessions() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not server.sessions()
