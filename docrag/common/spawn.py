"""Worker processes that do not run the user's script a second time.

A process that multiprocessing spawns imports the script its parent was started with. A script that ingests
without `if __name__ == "__main__":` would then ingest in each of its own workers. The workers of docrag need
nothing of that script, only functions of docrag's modules.
"""

from __future__ import annotations

import threading
from functools import cache
from multiprocessing import resource_tracker, spawn
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

_told = threading.local()


class Process(SpawnProcess):
    """A process that imports nothing but what it is asked to do."""

    def start(self) -> None:
        """Start it; multiprocessing asks in this thread what to prepare."""
        _told.without_script = True
        try:
            super().start()
        finally:
            _told.without_script = False


class Context(SpawnContext):
    """multiprocessing's spawn, with processes of our kind."""

    Process = Process


def context() -> Context:
    """How docrag starts processes; who wants Ctrl-C blocked in them blocks it after this call.

    With the first process multiprocessing starts its tracker, and unblocks Ctrl-C in the thread that asks:
    the first workers would be open to it while they import. So the tracker is started here.
    """
    _leave_script_out()
    resource_tracker.ensure_running()
    return Context()


@cache
def _leave_script_out() -> None:
    """Wrap what multiprocessing tells a new process; for the processes of others nothing changes."""
    prepare = spawn.get_preparation_data

    def prepared(name: str) -> dict[str, Any]:
        told: dict[str, Any] = prepare(name)
        if getattr(_told, "without_script", False):
            told = {key: value for key, value in told.items() if not key.startswith("init_main_from")}
        return told

    spawn.get_preparation_data = prepared
