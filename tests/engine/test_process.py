"""The engine's own process: who starts it, who uses it, and how it ends."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

import docrag
from docrag import Hit, Index, Settings
from docrag.common.files import lock_holder
from docrag.common.rpc.peers import SOCKET, socket_paths
from docrag.errors import IndexInUse, IndexMismatch, IndexNotFound, StoreError
from docrag.operations.migrate import migrate_index
from docrag.operations.stop import stop_engine
from docrag.store.local import process as process_module
from docrag.store.local.process import EngineProcess, EngineStatus
from docrag.store.local.wire import CODEC

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),  # that it forks
]

QUESTION = "What do four red flashes mean?"


def engine_of(index: Index) -> EngineStatus:
    """The process that holds the index."""
    engine = index.status().engine
    assert engine is not None
    return engine


def described(hit: Hit) -> dict[str, object]:
    """A hit without the path of its image, which is another one in a copy of the index."""
    return {**asdict(hit), "image_path": None}


def is_running(pid: int) -> bool:
    """Whether a process exists; one that has ended and was not waited for does not count."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something has happened."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_all_handles_share_one_process(opened: Index, made: Path):
    with Index.open(made) as second:
        assert engine_of(second).pid == engine_of(opened).pid != os.getpid()
        assert second.search(QUESTION) == opened.search(QUESTION)
    assert opened.search(QUESTION)[0].page == 4


def test_answers_are_those_of_an_index_in_this_process(
    opened: Index, made: Path, demo_copy: Callable[[], Path]
):
    settings = Settings(in_process=True)
    with Index.open(demo_copy(), settings=settings) as here:
        for mode in ("hybrid", "late", "cosine", "text"):
            ours, theirs = here.search(QUESTION, mode=mode), opened.search(QUESTION, mode=mode)
            assert [described(hit) for hit in ours] == [described(hit) for hit in theirs]
        page_id = ours[0].page_id
        ours, theirs = here.heatmap(page_id, QUESTION).words, opened.heatmap(page_id, QUESTION).words
        assert [(word.word, word.similarity) for word in ours] == [
            (word.word, word.similarity) for word in theirs
        ]
        assert here.documents() == opened.documents()


def test_status_names_the_process_and_its_users(opened: Index, made: Path):
    script = (
        "import sys; from docrag import Index; i = Index.open(sys.argv[1]); "
        "print(i.search('fares')[0].page, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(made)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip().isdigit()
        engine = engine_of(opened)
        assert engine.version == docrag.__version__
        assert (other.pid, "python") in [(user.pid, user.program) for user in engine.users]
        other.communicate("\n")
    assert other.pid not in [user.pid for user in engine_of(opened).users]


def test_it_survives_who_started_it(copy: Path):
    script = "import sys; from docrag import Index; i = Index.open(sys.argv[1]); print(i.status().engine.pid)"
    command = [sys.executable, "-c", script, str(copy)]
    started = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert is_running(started)
    with Index.open(copy) as index:
        assert engine_of(index).pid == started


def test_after_a_kill_the_next_call_starts_it_again(copy: Path):
    with Index.open(copy) as index:
        before = index.search(QUESTION)
        killed = engine_of(index).pid
        os.kill(killed, signal.SIGKILL)
        assert index.search(QUESTION) == before
        assert engine_of(index).pid != killed


def test_threads_search_while_it_is_killed_again_and_again(copy: Path):
    with Index.open(copy) as index:
        expected = [hit.page_id for hit in index.search(QUESTION)]
        errors: list[BaseException] = []
        done = threading.Event()

        def search() -> None:
            try:
                while not done.is_set():
                    assert [hit.page_id for hit in index.search(QUESTION)] == expected
            except BaseException as error:  # noqa: BLE001 (reported by the test)
                errors.append(error)

        threads = [threading.Thread(target=search) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            os.kill(engine_of(index).pid, signal.SIGKILL)
            time.sleep(0.5)
        done.set()
        for thread in threads:
            thread.join()
    assert not errors


def test_it_ends_some_time_after_its_last_user(copy: Path):
    with Index.open(copy, settings=Settings(engine_idle=0.5)) as index:
        pid = engine_of(index).pid
        time.sleep(2.5)
        assert is_running(pid)
    wait_for(lambda: not is_running(pid))
    assert not (copy / SOCKET).exists()


def test_it_ends_when_its_directory_is_gone(copy: Path):
    with Index.open(copy) as index:
        pid = engine_of(index).pid
        shutil.rmtree(copy)
        wait_for(lambda: not is_running(pid), 5)
        with pytest.raises(IndexNotFound, match="is gone"):
            index.search(QUESTION)


def test_a_directory_that_is_made_again_is_another_index(copy: Path, folder: Path):
    with Index.open(copy) as old:
        assert len(old.documents()) == 5
        shutil.rmtree(copy)
        with Index.open(copy) as new:
            assert new.documents() == []
            assert not new.ingest(folder).failures
            assert len(new.documents()) == 2


def test_stop_ends_it_and_the_next_call_starts_it(copy: Path):
    settings = Settings(index=str(copy))
    assert stop_engine(settings) is None
    with Index.open(copy) as index:
        pid = engine_of(index).pid
        assert stop_engine(settings) == pid
        wait_for(lambda: not is_running(pid), 5)
        assert index.search(QUESTION)[0].page == 4


def test_what_was_written_and_not_flushed_survives_a_kill(tmp_path: Path, folder: Path):
    with Index.open(tmp_path / "index") as index:
        assert not index.ingest(folder).failures
        os.kill(engine_of(index).pid, signal.SIGKILL)
        assert len(index.documents()) == 2
        assert index.search("fares for bicycles")[0].page == 2
        stop_engine(Settings(index=str(tmp_path / "index")))


def test_a_child_searches_with_the_handle_of_its_parent(opened: Index):
    expected = [hit.page_id for hit in opened.search(QUESTION)]
    child = os.fork()
    if not child:
        try:
            os._exit(0 if [hit.page_id for hit in opened.search(QUESTION)] == expected else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert [hit.page_id for hit in opened.search(QUESTION)] == expected


_handle: list[Index] = []


def search_inherited(question: str) -> int:
    """Search in a worker of a pool, with the handle that it inherited."""
    return _handle[0].search(question)[0].page


def search_pickled(index: Index) -> int:
    """Search in a worker of a pool, with a handle that came as a pickle."""
    with index:
        return index.search(QUESTION)[0].page


def test_a_pool_that_was_forked_after_opening(opened: Index):
    _handle[:] = [opened]
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map(search_inherited, [QUESTION] * 6) == [4] * 6


def test_a_handle_is_pickled_as_its_address(opened: Index, made: Path):
    copied = pickle.loads(pickle.dumps(opened))
    with copied:
        assert copied.search(QUESTION) == opened.search(QUESTION)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(search_pickled, [opened]) == [4]


def test_in_this_process_handles_share_the_store_and_a_child_gets_an_error(copy: Path):
    settings = Settings(in_process=True)
    with Index.open(copy, settings=settings) as first, Index.open(copy, settings=settings) as second:
        assert first.search(QUESTION) == second.search(QUESTION)
        child = os.fork()
        if not child:
            try:
                first.search(QUESTION)
            except StoreError as error:
                os._exit(0 if "forked from" in error.message and "after the fork" in error.hint else 1)
            os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        first.close()
        assert second.search(QUESTION)[0].page == 4
    with Index.open(copy, settings=settings) as again:
        assert again.search(QUESTION)[0].page == 4


def test_who_wants_a_directory_alone_is_told_how_to_end_the_process(opened: Index, made: Path):
    with pytest.raises(IndexInUse) as in_use:
        Index.open(made, settings=Settings(in_process=True))
    assert f"process {engine_of(opened).pid} (docrag engine)" in in_use.value.holder
    assert in_use.value.hint.startswith("docrag stop; or open it without in_process")


def test_a_handle_that_is_only_dropped_holds_nothing(copy: Path):
    index = Index.open(copy, settings=Settings(in_process=True))
    assert lock_holder(copy / "points") is not None
    del index
    gc.collect()
    assert lock_holder(copy / "points") is None


def test_who_holds_a_directory_alone_is_named_to_others(copy: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("docrag.engine.store_service.LOCK_PATIENCE", 0.0)
    with Index.open(copy, settings=Settings(in_process=True)), pytest.raises(IndexInUse) as in_use:
        Index.open(copy)
    assert str(os.getpid()) in str(in_use.value)


def test_a_process_of_another_version(copy: Path, monkeypatch: pytest.MonkeyPatch):
    with Index.open(copy) as index:
        old = engine_of(index).pid
        monkeypatch.setattr(process_module, "__version__", "99.0")
        message = _greet_from_a_child(copy)
    assert f"held by docrag {docrag.__version__}, used by" in message
    assert is_running(old)


def _greet_from_a_child(folder: Path) -> str:
    """What a child is told, for which this process is a user that keeps the engine's from ending."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            EngineProcess(folder, 600, CODEC).connect().close()
        except IndexInUse as error:
            os.write(writing, error.message.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as message:
        return message.read()


def test_an_unused_process_of_another_version_is_replaced(copy: Path, monkeypatch: pytest.MonkeyPatch):
    with Index.open(copy) as index:
        old = engine_of(index).pid
    monkeypatch.setattr(process_module, "__version__", "99.0")
    monkeypatch.setattr("docrag.store.local.process.EngineProcess._start", _refuse_to_start)
    with pytest.raises(StoreError, match="a new one is started"):
        EngineProcess(copy, 600, CODEC).connect()
    wait_for(lambda: not is_running(old))


def _refuse_to_start(process: EngineProcess) -> None:
    raise StoreError("a new one is started")


def test_a_path_too_long_for_a_socket(demo_copy: Callable[[], Path], tmp_path: Path):
    deep = tmp_path / ("deep" * 20) / ("deeper" * 10)
    deep.mkdir(parents=True)
    folder = Path(shutil.move(demo_copy(), deep / "index"))
    with Index.open(folder) as index:
        assert index.search(QUESTION)[0].page == 4
        assert not (folder / SOCKET).exists()
        places = [path for path in socket_paths(folder) if path.exists()]
        assert places
        assert places[0].parent.stat().st_mode & 0o077 == 0
        stop_engine(Settings(index=str(folder)))
    assert not places[0].exists()


def test_only_its_owner_can_use_the_socket(opened: Index, made: Path):
    assert (made / SOCKET).stat().st_mode & 0o077 == 0


def test_a_stale_socket_is_replaced(copy: Path):
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(copy / SOCKET))
    stale.close()
    with Index.open(copy) as index:
        assert index.search(QUESTION)[0].page == 4


def test_where_no_process_can_be_started_the_error_says_what_to_do(
    copy: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(StoreError, match="cannot be started") as failure:
        Index.open(copy)
    assert "DOCRAG_IN_PROCESS=1" in failure.value.hint


def test_a_process_that_ends_at_once_says_why(copy: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(process_module, "MODULE", "docrag.nonsense")
    with pytest.raises(StoreError, match="cannot be started"):
        Index.open(copy)
    assert "No module named docrag.nonsense" in (copy / process_module.LOG).read_text()


def test_other_models_than_those_of_the_index_are_refused(made: Path, checkpoint: Callable[[str], str]):
    with pytest.raises(IndexMismatch):
        Index.open(made, image=checkpoint("clip"))


def test_eight_processes_start_one(copy: Path):
    script = "import sys; from docrag import Index; i = Index.open(sys.argv[1]); print(i.status().engine.pid)"
    command = [sys.executable, "-c", script, str(copy)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    pids = {process.communicate()[0].strip() for process in processes}
    assert len(pids) == 1
    assert all(process.returncode == 0 for process in processes)


def test_processes_that_make_one_index_at_once_share_it(tmp_path: Path):
    script = "import sys; from docrag import Index; print(len(Index.open(sys.argv[1]).documents()))"
    command = [sys.executable, "-c", script, str(tmp_path / "index")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[0].strip() for process in processes] == ["0"] * 4
    assert stop_engine(Settings(index=str(tmp_path / "index"))) is not None


def test_changes_by_one_handle_are_seen_by_another(copy: Path, folder: Path):
    with Index.open(copy) as reader, Index.open(copy) as writer:
        before = reader.changes
        assert reader.changes == before
        writer.ingest(folder)
        assert reader.changes != before
        assert len(reader.documents()) == 7


def test_a_closed_handle_is_closed_and_leaves_no_connection(copy: Path):
    with Index.open(copy) as other:
        index = Index.open(copy)
        assert index.search(QUESTION)
        index.close()
        index.close()
        with pytest.raises(StoreError, match="is closed"):
            index.search(QUESTION)
        assert other.search(QUESTION)


def test_calls_that_come_while_it_ends_are_made_again(copy: Path):
    with Index.open(copy) as index:
        errors: list[BaseException] = []
        done = threading.Event()

        def count() -> None:
            try:
                while not done.is_set():
                    assert index._storage.store.count() == 15
            except BaseException as error:  # noqa: BLE001 (reported by the test)
                errors.append(error)

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(2):
            time.sleep(0.3)
            stop_engine(Settings(index=str(copy)))
            assert index._storage.store.count() == 15
        done.set()
        for thread in threads:
            thread.join()
    assert not errors


def test_a_handle_of_an_index_that_was_migrated_says_so(copy: Path):
    with Index.open(copy) as index:
        assert index.search(QUESTION)
        migrated = migrate_index(copy, settings=Settings(datatype="float32"))
        assert migrated.switched
        with pytest.raises(IndexMismatch, match="was migrated after it was opened") as mismatch:
            index.search(QUESTION)
        assert "open it again" in mismatch.value.hint
    with Index.open(copy) as again:
        assert again.search(QUESTION)[0].page == 4
