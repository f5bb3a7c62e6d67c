"""What tests of several processes need: forked children, processes that hold a lock, read-only folders."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from docrag.common.files import lock_holder
from docrag.location.names import POINTS

HOLD = """
import sys
from pathlib import Path
from docrag.common.files import FolderLock
lock = FolderLock(Path(sys.argv[-1]))
print("held", flush=True)
sys.stdin.read()
"""


class Holder:
    """A process that holds the lock of a folder until it is told to end, as if it were another program.

    Args:
        folder: What it locks.
        home: Where its script is written.
        command: The name of the program, and its arguments.
        script: What it runs; it prints a line once it holds the lock.
    """

    def __init__(self, folder: Path, home: Path, *command: str, script: str = HOLD) -> None:
        program = home / command[0]
        program.write_text(script)
        self.process = subprocess.Popen(
            [sys.executable, program, *command[1:], folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "held\n":
            self.kill()
            raise AssertionError(f"{command[0]} has not locked {folder}")

    def end(self) -> None:
        """Let it release the lock by ending; ending twice is harmless."""
        self.process.communicate("")

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def is_held(index: Path | str) -> bool:
    """Whether a process, such as this one, has the points of an index in a directory open."""
    return lock_holder(Path(index) / POINTS) is not None


def in_child(call: Callable[[], Any]) -> Any:
    """Fork, and return what a call gives in the child, or raise its error."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the process that runs the tests has threads
        child = os.fork()
    if not child:
        try:
            try:
                outcome = (call(), None)
            except BaseException as error:  # noqa: BLE001  it is raised in the parent
                outcome = (None, error)
            os.write(write, pickle.dumps(outcome))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        outcome = pickle.loads(pipe.read())
    os.waitpid(child, 0)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """Make a folder read-only: root may write everywhere, so for root it is mounted."""
    if os.getuid():
        folder.chmod(0o555)
        try:
            yield folder
        finally:
            folder.chmod(0o755)
        return
    mount = ["mount", "--bind", folder, folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("root may not mount here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
