"""One process at a time holds a folder, whatever it forks and however it ends."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from docrag.common.files import READ_ONLY_HINT, FolderLock, lock_holder
from docrag.errors import IndexInUse, StoreError
from tests.processes import HOLD, Holder, in_child, read_only
from tests.threads import beside

HOLD_AND_FORK = HOLD.replace(
    'print("held"', 'import os, time\nif not os.fork(): os.close(1); time.sleep(60)\nprint("held"'
)
HOLD_AS_OF_OLD = """
import fcntl, os, sys
file = os.open(sys.argv[-1], os.O_RDWR | os.O_CREAT)
fcntl.flock(file, fcntl.LOCK_EX)
os.write(file, str(os.getpid()).encode())
print("held", flush=True)
sys.stdin.read()
"""


def is_free(folder: Path) -> bool:
    try:
        FolderLock(folder).release()
    except IndexInUse:
        return False
    return True


def test_a_folder_is_held_once(tmp_path: Path):
    with FolderLock(tmp_path / "shard"), pytest.raises(IndexInUse, match="open already"):
        FolderLock(tmp_path / "shard")
    lock = FolderLock(tmp_path / "shard")
    lock.release()
    lock.release()
    FolderLock(tmp_path / "shard").release()


def test_who_holds_it_is_named(tmp_path: Path):
    with FolderLock(tmp_path / "shard"), pytest.raises(IndexInUse) as own:
        FolderLock(tmp_path / "shard")
    assert (own.value.holder, own.value.hint) == (
        "this process",
        "this process has it open: use that, or close it first",
    )
    command = ("docrag", "ingest", "--password=secret")
    with Holder(tmp_path / "shard", tmp_path, *command) as other, pytest.raises(IndexInUse) as caught:
        FolderLock(tmp_path / "shard")
    assert caught.value.holder == f"process {other.process.pid} (docrag ingest)"
    assert caught.value.hint == f"end {caught.value.holder}, which has it open"


def test_the_holder_can_be_asked_for(tmp_path: Path):
    assert lock_holder(tmp_path / "shard") is None
    with Holder(tmp_path / "shard", tmp_path, "notebook.py") as other:
        assert str(lock_holder(tmp_path / "shard")) == f"process {other.process.pid} (python notebook.py)"
    assert lock_holder(tmp_path / "shard") is None  # it was killed, and its name is still there
    with FolderLock(tmp_path / "shard"):
        assert str(lock_holder(tmp_path / "shard")) == "this process"
    assert lock_holder(tmp_path / "shard") is None


def test_an_older_version_names_only_its_process_id(tmp_path: Path):
    with Holder(tmp_path / ".shard.lock", tmp_path, "old.py", script=HOLD_AS_OF_OLD) as other:
        assert str(lock_holder(tmp_path / "shard")) == f"process {other.process.pid}"
        assert not is_free(tmp_path / "shard")


def test_who_has_not_written_its_name_is_another_process(tmp_path: Path):
    script = HOLD_AS_OF_OLD.replace("os.write", "#")
    with (
        Holder(tmp_path / ".shard.lock", tmp_path, "old.py", script=script),
        pytest.raises(IndexInUse) as caught,
    ):
        FolderLock(tmp_path / "shard")
    assert caught.value.holder == "another process"


def test_a_link_to_the_folder_is_the_same_folder(tmp_path: Path):
    (tmp_path / "shard").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "shard")
    with FolderLock(tmp_path / "shard"), pytest.raises(IndexInUse):
        FolderLock(tmp_path / "link")


def test_where_no_lock_can_be_made_the_system_says_why(tmp_path: Path):
    with pytest.raises(StoreError, match="No such file"):
        FolderLock(tmp_path / "missing" / "shard")


def test_on_a_read_only_file_system_the_hint_says_so(tmp_path: Path):
    (tmp_path / "mount").mkdir()
    with read_only(tmp_path / "mount") as folder, pytest.raises(StoreError) as caught:
        FolderLock(folder / "shard")
    assert caught.value.hint == READ_ONLY_HINT


def test_a_killed_process_holds_nothing(tmp_path: Path):
    with Holder(tmp_path / "shard", tmp_path, "notebook.py") as other:
        assert not is_free(tmp_path / "shard")
        other.kill()
        assert is_free(tmp_path / "shard")


def test_children_of_a_killed_process_hold_nothing(tmp_path: Path):
    with Holder(tmp_path / "shard", tmp_path, "notebook.py", script=HOLD_AND_FORK) as other:
        children = Path(f"/proc/{other.process.pid}/task/{other.process.pid}/children").read_text().split()
        other.kill()
        try:
            assert is_free(tmp_path / "shard")
        finally:
            os.kill(int(children[0]), 9)


def test_a_child_neither_keeps_nor_ends_the_lock_of_its_parent(tmp_path: Path):
    lock = FolderLock(tmp_path / "shard")
    in_child(lock.release)
    assert not is_free(tmp_path / "shard")
    assert in_child(lambda: is_free(tmp_path / "shard")) is False
    lock.release()
    assert is_free(tmp_path / "shard")
    assert in_child(lambda: is_free(tmp_path / "shard")) is True


def test_a_child_that_lives_on_does_not_keep_a_lock_that_was_released(tmp_path: Path):
    end, told = os.pipe()
    lock = FolderLock(tmp_path / "shard")
    waiting = beside(lambda: in_child(lambda: os.read(end, 1)))
    try:
        lock.release()
        assert is_free(tmp_path / "shard")
    finally:
        os.write(told, b".")
        assert waiting.result(20) == b"."


def test_who_waits_is_told_for_whom_and_gets_it(tmp_path: Path):
    names: list[str] = []
    with Holder(tmp_path / "shard", tmp_path, "docrag", "ingest") as other:

        def on_wait(holder: str) -> None:
            names.append(holder)
            other.end()

        lock = FolderLock.wait_for(tmp_path / "shard", on_wait=on_wait)
    assert names == [f"process {other.process.pid} (docrag ingest)"]
    assert lock is not None
    assert not is_free(tmp_path / "shard")
    lock.release()


def test_waiting_can_be_ended(tmp_path: Path):
    answers = iter([False, True])
    with Holder(tmp_path / "shard", tmp_path, "notebook.py"):
        started = time.monotonic()
        assert FolderLock.wait_for(tmp_path / "shard", should_stop=lambda: next(answers)) is None
        assert time.monotonic() - started < 5


def test_another_thread_is_waited_for_and_this_one_is_not(tmp_path: Path):
    names: list[str] = []
    lock = FolderLock(tmp_path / "shard")
    told = threading.Event()

    def on_wait(holder: str) -> None:
        names.append(holder)
        told.set()

    waiting = beside(lambda: FolderLock.wait_for(tmp_path / "shard", on_wait=on_wait))
    assert told.wait(20)
    with pytest.raises(IndexInUse):
        FolderLock.wait_for(tmp_path / "shard")
    lock.release()
    waiting.result(20).release()
    assert names == ["this process"]
