"""Worker processes that do not run the user's script a second time.

A process that multiprocessing spawns imports the script with which its parent was started. A script that
ingests without `if __name__ == "__main__":` would therefore ingest again in each of its own workers. The
workers of docrag need nothing from that script, only functions of docrag's modules.
"""

from __future__ import annotations

import threading
from functools import cache
from multiprocessing import current_process, resource_tracker, spawn
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

_starting = threading.local()
"""Its attribute `without_script` is true in a thread that is starting one of our processes."""


class ProcessWithoutScript(SpawnProcess):
    """A process that does not import the script of its parent."""

    def start(self) -> None:
        """Start the process; multiprocessing calls `get_preparation_data` in this thread meanwhile.

        multiprocessing forbids this to daemonic processes, such as the workers of its pools and of Celery,
        because the children would outlive them. Those of docrag end when their pipe is closed.
        """
        _starting.without_script = True
        parent = current_process()
        was_daemon = _set_daemon(parent, False)
        try:
            super().start()
        finally:
            _set_daemon(parent, was_daemon)
            _starting.without_script = False


def _set_daemon(process: Any, daemon: bool) -> bool:
    """Change whether a running process counts as daemonic, which only its start can set; the old value."""
    before = bool(process.daemon)
    process._config["daemon"] = daemon
    return before


class ContextWithoutScript(SpawnContext):
    """multiprocessing's spawn context with `ProcessWithoutScript` as its process class."""

    Process = ProcessWithoutScript


def context() -> ContextWithoutScript:
    """Return the multiprocessing context in which docrag starts processes.

    A thread that blocks Ctrl-C for its workers must block it after this call: with the first process,
    multiprocessing starts its resource tracker and unblocks Ctrl-C in the calling thread, so the first
    workers could be interrupted while they import. That is why the tracker is started here.
    """
    _leave_script_out()
    resource_tracker.ensure_running()
    return ContextWithoutScript()


@cache
def _leave_script_out() -> None:
    """Wrap the function that tells a new process what to import; other people's processes are unaffected."""
    get_preparation_data = spawn.get_preparation_data

    def without_script(name: str) -> dict[str, Any]:
        data: dict[str, Any] = get_preparation_data(name)
        if getattr(_starting, "without_script", False):
            data = {key: value for key, value in data.items() if not key.startswith("init_main_from")}
        return data

    spawn.get_preparation_data = without_script
