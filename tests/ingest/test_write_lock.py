import threading
import time

from docrag.ingest.storage import WriteLock
from tests.threads import at_once, beside


def test_one_thread_at_a_time():
    turn, inside = WriteLock(), []

    def work(i):
        with turn.acquire() as mine:
            inside.append(i)
            time.sleep(0.002)
            assert inside.pop() == i
            return mine

    assert at_once(12, work) == [True] * 12


def test_the_thread_that_has_it_may_take_it_again():
    turn = WriteLock()
    with turn.acquire(), turn.acquire(lambda: True) as mine:
        assert mine


def test_one_that_waits_can_be_told_to_stop_and_leaves_the_turn_as_it_is():
    turn, stop = WriteLock(), threading.Event()

    def wait():
        with turn.acquire(stop.is_set) as mine:
            return mine

    with turn.acquire():
        waiting = beside(wait)
        stop.set()
        assert waiting.result(20) is False
    stop.clear()
    assert beside(wait).result(20) is True


def test_an_error_within_gives_it_back():
    turn = WriteLock()
    try:
        with turn.acquire():
            raise ValueError("broken")
    except ValueError:
        pass
    assert beside(lambda: turn._lock.acquire(timeout=5)).result(20)
