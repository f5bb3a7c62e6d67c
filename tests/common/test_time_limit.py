"""Limits of time that belong to the running thread."""

from __future__ import annotations

import math
import threading

import anyio
import pytest
from anyio import to_thread

from docrag.common.time_limit import is_patient, may_try_again, patience, seconds_left, time_limit


def test_without_a_limit_there_is_no_end():
    assert math.isinf(seconds_left())
    assert may_try_again(1e9)


def test_of_two_limits_the_nearer_one_counts_and_the_other_holds_afterwards():
    with time_limit(10):
        with time_limit(5):
            assert 4 < seconds_left() <= 5
        with time_limit(50):
            assert 9 < seconds_left() <= 10
    assert math.isinf(seconds_left())


def test_a_limit_that_is_over_leaves_no_seconds_and_no_try():
    with time_limit(0):
        assert seconds_left() == 0
        assert not may_try_again(0)


def test_there_is_a_next_try_if_its_wait_ends_in_time():
    with time_limit(5):
        assert may_try_again(4)
        assert not may_try_again(6)
    with time_limit(5, only_one_try=True), time_limit(5):
        assert not may_try_again(0)


def test_the_limit_ends_with_an_error():
    with pytest.raises(ValueError, match="x"), time_limit(5):
        raise ValueError("x")
    assert math.isinf(seconds_left())


def test_patience_is_marked_within():
    with patience():
        assert is_patient()
    assert not is_patient()


def test_patient_work_that_is_to_stop_tries_nothing_again():
    stopped = False
    with patience(lambda: stopped), patience():
        assert may_try_again(1)
        stopped = True
        assert not may_try_again(0)
    assert may_try_again(1)


def test_threads_of_anyio_have_the_limit_and_others_do_not():
    left: list[float] = []

    async def run() -> None:
        with time_limit(5):
            left.append(await to_thread.run_sync(seconds_left))
            thread = threading.Thread(target=lambda: left.append(seconds_left()))
            thread.start()
            thread.join()

    anyio.run(run)
    assert left[0] <= 5
    assert math.isinf(left[1])
