"""Products of small matrices on the calling thread alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from docrag.common.forks import ForkAware


class OneBlasThread(ForkAware):
    """Keeps matrix products on the calling thread while at least one thread asks for it.

    OpenBLAS hands even small products to all cores, and lets those spin for 25 ms after each, in the way of
    the next search. With that, the median search on two cores took 119 ms and twice the CPU time; without,
    104 ms. The limit holds for the whole process, so the last thread that needs it lifts it: if each restored
    what it found, the first of several would let the cores spin for the others.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._users = 0
        self._controller: Any = None
        self._limit: Any = None

    def after_fork_in_child(self) -> None:
        """Forget the threads of the parent, which do not exist here."""
        self._lock = threading.Lock()
        if self._users:
            self._users = 0
            self._limit.restore_original_limits()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the limit for the length of the block."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._limit = self._threadpools().limit(limits=1, user_api="blas")
        try:
            yield
        finally:
            with self._lock:
                self._users = max(0, self._users - 1)  # in a child that was forked within, it is 0 already
                if not self._users:
                    self._limit.restore_original_limits()

    def _threadpools(self) -> Any:
        if self._controller is None:
            from threadpoolctl import ThreadpoolController

            self._controller = ThreadpoolController()  # looks through all loaded libraries, so it is kept
        return self._controller


_one_blas_thread = OneBlasThread()
one_blas_thread = _one_blas_thread.held
