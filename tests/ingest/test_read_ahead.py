import threading
import time
from collections.abc import Iterator

import pytest

from docrag.ingest.pipeline import ReadAhead


def test_items_come_in_order():
    with ReadAhead(range(100), 3) as ahead:
        assert list(ahead) == list(range(100))


def test_no_more_than_the_most_are_produced_ahead():
    produced = []

    def items() -> Iterator[int]:
        for i in range(100):
            produced.append(i)
            yield i

    with ReadAhead(items(), 5) as ahead:
        next(iter(ahead))
        deadline = time.monotonic() + 5
        while len(produced) < 7 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(produced) == 7  # one taken, five waiting, one in hand


def test_an_error_comes_after_the_items_before_it():
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    with ReadAhead(items(), 5) as ahead:
        iterator = iter(ahead)
        assert next(iterator) == 1
        with pytest.raises(ValueError, match="broken"):
            next(iterator)


def test_leaving_early_ends_the_producer():
    before = threading.active_count()
    with ReadAhead(iter(int, 1), 2) as ahead:
        next(iter(ahead))
    assert threading.active_count() == before


def test_waiting_is_measured():
    def slow() -> Iterator[int]:
        time.sleep(0.05)
        yield 1

    with ReadAhead(slow(), 1) as ahead:
        list(ahead)
        assert ahead.waited >= 0.04


def test_who_waits_for_an_item_can_be_told_to_stop():
    never, stop = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 1
        never.wait(20)

    with ReadAhead(items(), 5, stop.is_set) as ahead:
        iterator = iter(ahead)
        assert next(iterator) == 1
        started = time.monotonic()
        threading.Timer(0.2, stop.set).start()
        assert list(iterator) == []
        assert ahead.stopped
        assert 0.1 < time.monotonic() - started < 5
        never.set()


def test_who_is_told_to_stop_leaves_what_is_there():
    with ReadAhead(range(3), 5, lambda: True) as ahead:
        assert list(ahead) == []
        assert ahead.stopped
    with ReadAhead(range(3), 5, lambda: False) as ahead:
        assert list(ahead) == [0, 1, 2]
        assert not ahead.stopped
