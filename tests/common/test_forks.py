from __future__ import annotations

import gc

from docrag.common.forks import ForkAware, leave_to_parent
from tests.processes import in_child


class Witness(ForkAware):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def before_fork(self) -> None:
        self.seen.append("before")

    def after_fork_in_parent(self) -> None:
        self.seen.append("in the parent")

    def after_fork_in_child(self) -> None:
        self.seen.append("in the child")


class Loud:
    def __init__(self, freed: list[str]) -> None:
        self.freed = freed

    def __del__(self) -> None:
        self.freed.append("freed")


def test_each_side_is_told():
    witness = Witness()
    assert in_child(lambda: witness.seen) == ["before", "in the child"]
    assert witness.seen == ["before", "in the parent"]


def test_objects_are_forgotten_once_nobody_uses_them():
    witness = Witness()
    seen = witness.seen
    del witness
    gc.collect()
    in_child(lambda: None)
    assert seen == []


def test_what_is_left_to_the_parent_is_never_freed_in_the_child():
    freed: list[str] = []
    value = [Loud(freed)]

    def drop() -> list[str]:
        leave_to_parent(value[0])
        value.clear()
        gc.collect()
        return freed

    assert in_child(drop) == []
    value.clear()
    assert freed == ["freed"]
