from __future__ import annotations

import threading

from docrag.store.local.store import ReadWriteLock


def test_who_waits_to_be_alone_goes_before_new_calls():
    lock = ReadWriteLock()
    order: list[str] = []
    inside, leave = threading.Event(), threading.Event()

    def call() -> None:
        with lock.shared():
            inside.set()
            leave.wait(10)
        order.append("first call")

    def alone() -> None:
        with lock.exclusive():
            order.append("alone")

    def late() -> None:
        with lock.shared():
            order.append("late call")

    threads = [threading.Thread(target=target) for target in (call, alone, late)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    while not lock._exclusive:
        threading.Event().wait(0.001)
    threads[2].start()
    leave.set()
    for thread in threads:
        thread.join(10)
    assert order.index("alone") < order.index("late call")
