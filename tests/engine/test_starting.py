"""How the engine's process is found, started and told to end, in places where something is wrong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from docrag import Index, Settings
from docrag.common.rpc.peers import SOCKET, Peer
from docrag.common.rpc.server import Server, Session
from docrag.errors import IndexInUse, IndexNotFound, StoreError
from docrag.store.local import process as process_module
from docrag.store.local.process import EngineProcess
from docrag.store.local.wire import CODEC

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # that it forks


@pytest.fixture
def ended() -> list[str]:
    """What the false process was told."""
    return []


@pytest.fixture
def false_process(tmp_path: Path, ended: list[str]) -> Iterator[EngineProcess]:
    """The process of a folder, which is a thread of this one that does nothing."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / SOCKET))
    listening.listen()

    def end(session: Session) -> None:
        ended.append("told")
        session.connection.shutdown(socket.SHUT_RD)  # the connection is closed after the answer

    server = Server(listening, CODEC, {"end": end})
    threading.Thread(target=server.serve, daemon=True).start()
    yield EngineProcess(tmp_path, 600, CODEC)
    server.stop(1)


def test_a_process_of_another_user_is_named(false_process: EngineProcess, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(process_module, "is_own", lambda peer: False)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    for call in (false_process.connect, false_process.status, false_process.stop):
        with pytest.raises(IndexInUse, match=f"held by process {os.getpid()} of user {os.getuid()}"):
            call()


def test_a_process_in_another_container_is_told_to_end_by_a_call(
    false_process: EngineProcess, ended: list[str], monkeypatch: pytest.MonkeyPatch
):
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(process_module, "peer_of", lambda opened: Peer(0, os.geteuid()))
    monkeypatch.setattr(os, "kill", lambda *signal: signals.append(signal))
    assert false_process.stop() == 0
    assert ended == ["told"]
    assert not signals  # a signal to 0 goes to all processes of one's own group


def test_a_folder_that_is_removed_while_one_connects_is_not_found(
    false_process: EngineProcess, tmp_path: Path
):
    connection = false_process._find()
    assert connection is not None
    tmp_path.rename(tmp_path.with_name("elsewhere"))
    with connection.socket, pytest.raises(IndexNotFound, match="is gone"):
        false_process._greet(connection)
    tmp_path.with_name("elsewhere").rename(tmp_path)


def test_a_process_that_does_not_listen_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sleeper = tmp_path / "python"
    sleeper.write_text("#!/bin/sh\nsleep 5 >/dev/null 2>&1 &\n")  # keeps the pipe open, and says nothing
    sleeper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(sleeper))
    monkeypatch.setattr(process_module, "START_SECONDS", 1.0)
    with pytest.raises(StoreError, match="does not listen after 1 s"):
        EngineProcess(tmp_path, 600, CODEC).connect()


@pytest.mark.parametrize(("name", "value"), [("executable", None), ("frozen", True)])
def test_a_program_without_an_interpreter_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: object
):
    monkeypatch.setattr(sys, name, value, raising=False)
    with pytest.raises(StoreError, match="no interpreter is known") as failure:
        EngineProcess(tmp_path, 600, CODEC).connect()
    assert "DOCRAG_IN_PROCESS=1" in failure.value.hint


@pytest.mark.slow
def test_a_child_that_was_forked_meanwhile_does_not_hold_up_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    make_pipe = process_module._make_pipe
    children: list[int] = []

    def fork_after() -> tuple[int, int]:
        pipe = make_pipe()
        children.append(os.fork())
        if not children[-1]:
            time.sleep(60)
            os._exit(0)
        return pipe

    monkeypatch.setattr(process_module, "_make_pipe", fork_after)
    process = EngineProcess(tmp_path, 0.0, CODEC)
    started = time.monotonic()
    try:
        process.connect().close()
        assert time.monotonic() - started < 50
    finally:
        os.kill(children[0], signal.SIGKILL)
        os.waitpid(children[0], 0)
        process.stop()


_WITHOUT_DESCRIPTORS = """
import os, sys
from docrag import Index
os.close(0), os.close(1), os.close(2)
with Index.open(sys.argv[1]) as index:
    page = index.search("What do four red flashes mean?")[0].page
os._exit(page)
"""


@pytest.mark.slow
def test_a_process_may_have_closed_its_standard_descriptors(copy: Path):
    command = [sys.executable, "-c", _WITHOUT_DESCRIPTORS, str(copy)]
    assert subprocess.run(command, check=False).returncode == 4


@pytest.mark.slow
def test_whoever_reads_the_output_of_a_program_does_not_wait_for_the_process(copy: Path):
    script = "import sys; from docrag import Index; print(Index.open(sys.argv[1]).status().engine.pid)"
    command = [sys.executable, "-c", script, str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    os.kill(int(done.stdout), 0)  # it runs on, and holds neither stdout nor stderr


@pytest.mark.slow
def test_the_working_directory_may_change(copy: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(copy.parent)
    with Index.open(copy.name) as index:
        monkeypatch.chdir("/")
        os.kill(_pid(index), signal.SIGKILL)
        assert index.search("What do four red flashes mean?")[0].page == 4
        assert len(index._storage.manifest.files()) == 5


@pytest.mark.slow
def test_a_folder_whose_name_is_not_utf8(demo_copy: Callable[[], Path], tmp_path: Path):
    from docrag.index.one_search import search_index
    from docrag.operations.stop import stop_engine

    folder = tmp_path / os.fsdecode(b"caf\xe9 with\nnewline")
    demo_copy().rename(folder)
    settings = Settings(index=str(folder))
    wanted = {"query": "What do four red flashes mean?", "k": 3, "mode": "hybrid", "filter": None}
    hits, _ = search_index(settings, wanted, None, None)
    assert hits[0].page == 4
    assert stop_engine(settings)


def _pid(index: Index) -> int:
    engine = index.status().engine
    assert engine is not None
    return engine.pid
