import os

import pytest

from docrag.encode.runtime.threads import share_threads, thread_count


@pytest.mark.parametrize(("value", "count"), [("3", 3), ("4,2", 4)])
def test_the_variable_of_openmp_counts(monkeypatch: pytest.MonkeyPatch, value: str, count: int):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert thread_count() == count


@pytest.mark.parametrize("value", ["", "0", "many"])
def test_else_there_is_one_for_each_core(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert thread_count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert thread_count() == 1


def test_processes_share_the_threads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    share_threads(2)
    assert thread_count() == 3
    share_threads(8)
    assert thread_count() == 1
