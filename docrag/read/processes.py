"""The worker processes, by pebble: one task costs at most its own worker."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from docrag.common import spawn
from docrag.read import worker
from docrag.read.jobs import ReadOptions


class Processes:
    """A pool of workers that is made anew when it breaks.

    Pebble replaces a worker that a task crashed or that ran out of time. The pool itself breaks when a worker
    dies between tasks, as it does when the system is short of memory.
    """

    def __init__(self, options: ReadOptions, workers: int) -> None:
        self._options = options
        self._workers = workers
        self._pool: Any = None
        self._stopped = threading.Event()
        self._keeper: threading.Thread | None = None

    def submit(self, function: Callable[..., Any], args: tuple[Any, ...], seconds: float) -> Future[Any]:
        """Run a function of an importable module in a worker, for so many seconds at most.

        The future may raise TimeoutError, pebble's ProcessExpired (the worker died), BrokenProcessPool (try
        again), or what the function raises.
        """
        if self._pool is None or not self._pool.active:
            self.stop()
            self._start()
        future: Future[Any] = Future()
        try:
            future = self._pool.schedule(function, args=args, timeout=seconds)
        except RuntimeError as error:  # it broke since it was asked
            future.set_exception(BrokenProcessPool(str(error)))
        return future

    def stop(self) -> None:
        """End all workers, whatever they do; what was submitted is lost."""
        if self._pool is not None:
            self._pool.stop()
            try:
                self._pool.join()
            except KeyError:  # pebble: a worker ended of itself while it was being stopped
                self._pool.join()
            self._pool = None
        if self._keeper is not None:
            self._stopped.set()
            self._keeper.join()
            self._keeper = None

    def _start(self) -> None:
        """Start the pool in a thread that lives as long as the pool does.

        Linux kills a worker when the thread that started it ends (see `worker.start`), and the caller's may
        end any time. Workers also inherit the thread's signal mask: with Ctrl-C blocked, none dies of it
        with a traceback, not even while it starts.
        """
        self._stopped.clear()
        started: Future[Any] = Future()
        self._keeper = threading.Thread(
            target=self._keep, args=(started,), name="docrag-readers", daemon=True
        )
        self._keeper.start()
        self._pool = started.result()

    def _keep(self, started: Future[Any]) -> None:
        from pebble import ProcessPool

        context = spawn.context()
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            pool = ProcessPool(
                max_workers=self._workers,
                initializer=worker.start,
                initargs=(self._options, os.getpid()),
                context=context,
            )
            if not pool.active:  # asking starts it
                raise BrokenProcessPool("no worker process can be started")
        except (OSError, RuntimeError) as error:
            started.set_exception(error)
            return
        started.set_result(pool)
        self._stopped.wait()
