"""How many threads a model on a CPU computes with."""

from __future__ import annotations

import os

VARIABLE = "OMP_NUM_THREADS"
"""The variable of OpenMP, which torch reads when it is loaded; docrag's own threads go by it as well."""


def thread_count() -> int:
    """The number that OMP_NUM_THREADS sets, else one for each core that this process may use."""
    set_count = os.environ.get(VARIABLE, "").partition(",")[0]
    if set_count.isdecimal() and int(set_count) > 0:
        return int(set_count)
    if hasattr(os, "sched_getaffinity"):  # Linux only
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_threads(processes: int) -> None:
    """Leave this process its share of the threads; called before it loads a model.

    Args:
        processes: How many processes compute at the same time.
    """
    os.environ[VARIABLE] = str(max(1, thread_count() // processes))
