from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from docrag.common.files import FolderLock
from docrag.errors import IndexInUse, StoreError
from docrag.store.local.store import ReadWriteLock


def test_a_folder_is_held_once(tmp_path: Path):
    with FolderLock(tmp_path / "shard"), pytest.raises(IndexInUse, match="open already"):
        FolderLock(tmp_path / "shard")
    lock = FolderLock(tmp_path / "shard")
    lock.release()
    lock.release()
    FolderLock(tmp_path / "shard").release()


def test_who_holds_it_is_named(tmp_path: Path):
    with FolderLock(tmp_path / "shard"):
        with pytest.raises(IndexInUse) as own:
            FolderLock(tmp_path / "shard")
        script = "import sys, docrag.common.files as l; l.FolderLock(l.Path(sys.argv[1]))"
        command = [sys.executable, "-c", script, str(tmp_path / "shard")]
        other = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "this process has it open" in own.value.hint
    assert f"end process {os.getpid()}, which has it open" in other.stderr


def test_a_link_to_the_folder_is_the_same_folder(tmp_path: Path):
    (tmp_path / "shard").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "shard")
    with FolderLock(tmp_path / "shard"), pytest.raises(IndexInUse):
        FolderLock(tmp_path / "link")


def test_where_no_lock_can_be_made_the_system_says_why(tmp_path: Path):
    with pytest.raises(StoreError, match="No such file"):
        FolderLock(tmp_path / "missing" / "shard")


def test_who_waits_to_be_alone_goes_before_new_calls():
    lock = ReadWriteLock()
    order: list[str] = []
    inside, leave = threading.Event(), threading.Event()

    def call() -> None:
        with lock.shared():
            inside.set()
            leave.wait(10)
        order.append("first call")

    def alone() -> None:
        with lock.exclusive():
            order.append("alone")

    def late() -> None:
        with lock.shared():
            order.append("late call")

    threads = [threading.Thread(target=target) for target in (call, alone, late)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    while not lock._exclusive:
        threading.Event().wait(0.001)
    threads[2].start()
    leave.set()
    for thread in threads:
        thread.join(10)
    assert order.index("alone") < order.index("late call")
