"""What threads ask for at the same time is computed together, and each gets its own."""

from __future__ import annotations

import threading
import time

import pytest

from docrag.encode.runtime.request_batcher import RequestBatcher
from tests.threads import at_once, beside

WAIT = 20.0


class Slow:
    """Doubles numbers; the first call waits until it is let go, and what was asked together is kept."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.began, self.go = threading.Event(), threading.Event()

    def __call__(self, numbers):
        self.batches.append(list(numbers))
        self.began.set()
        assert self.go.wait(WAIT)
        if any(number < 0 for number in numbers):
            raise ValueError(f"negative: {min(numbers)}")
        return [2 * number for number in numbers]


def asked_meanwhile(work: Slow, numbers: list[int], most: int = 32):
    """A first call of 0, and others that come while it is computed, in order."""
    double = RequestBatcher(work, most)
    calls = [beside(lambda: double(0))]
    assert work.began.wait(WAIT)
    for number in numbers:
        before = len(double._waiting)
        calls.append(beside(lambda number=number: double(number)))
        deadline = time.monotonic() + WAIT
        while len(double._waiting) == before and time.monotonic() < deadline:
            time.sleep(0.001)
    work.go.set()
    return calls


def test_a_single_caller_is_served_at_once():
    work = Slow()
    work.go.set()
    double = RequestBatcher(work, 32)
    assert [double(number) for number in (1, 2, 3)] == [2, 4, 6]
    assert work.batches == [[1], [2], [3]]


def test_those_who_come_meanwhile_are_served_together():
    work = Slow()
    calls = asked_meanwhile(work, [1, 2, 3, 4, 5])
    assert [call.result(WAIT) for call in calls] == [0, 2, 4, 6, 8, 10]
    assert work.batches == [[0], [1, 2, 3, 4, 5]]


def test_no_more_than_the_most_are_served_together():
    work = Slow()
    calls = asked_meanwhile(work, [1, 2, 3, 4, 5], most=2)
    assert [call.result(WAIT) for call in calls] == [0, 2, 4, 6, 8, 10]
    assert work.batches == [[0], [1, 2], [3, 4], [5]]


def test_an_error_reaches_the_caller_whose_item_it_is():
    calls = asked_meanwhile(Slow(), [1, -2, 3, -4])
    assert [calls[i].result(WAIT) for i in (0, 1, 3)] == [0, 2, 6]
    for i, number in ((2, -2), (4, -4)):
        with pytest.raises(ValueError, match=f"negative: {number}"):
            calls[i].result(WAIT)


def test_results_that_are_not_one_for_each_are_an_error_for_each():
    with pytest.raises(ValueError, match="shorter"):
        RequestBatcher(lambda numbers: [], 32)(1)


def test_a_thread_that_is_interrupted_takes_no_other_with_it():
    interrupted = threading.Event()

    class Interrupted(Slow):
        def __call__(self, numbers):
            doubled = super().__call__(numbers)
            if not interrupted.is_set():
                interrupted.set()
                raise KeyboardInterrupt
            return doubled

    first, *others = asked_meanwhile(Interrupted(), [1, 2])
    assert [call.result(WAIT) for call in others] == [2, 4]
    assert isinstance(first.exception(WAIT), KeyboardInterrupt)


def test_many_threads_get_their_own_and_the_work_is_never_entered_twice():
    inside = threading.Lock()

    def double(numbers):
        assert inside.acquire(blocking=False)
        try:
            time.sleep(0.0005)
            return [2 * number for number in numbers]
        finally:
            inside.release()

    doubled = RequestBatcher(double, 8)
    results = at_once(24, lambda i: [doubled(100 * i + n) for n in range(20)])
    assert results == [[2 * (100 * i + n) for n in range(20)] for i in range(24)]
