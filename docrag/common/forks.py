"""What an object does when its process forks: a child must not use locks and connections of its parent."""

from __future__ import annotations

import os
import weakref
from typing import Any


class ForkAware:
    """Is told when this process forks, for as long as it exists; subclasses override what concerns them.

    Processes that are spawned, and those that the subprocess module starts, inherit nothing: they are not
    forks in this sense.
    """

    def __init__(self) -> None:
        _instances[id(self)] = self

    def before_fork(self) -> None:
        """Called in the thread that is about to fork."""

    def after_fork_in_parent(self) -> None:
        """Called in the same thread once the child exists."""

    def after_fork_in_child(self) -> None:
        """Called in the child, in which no other thread of the parent goes on."""


def leave_to_parent(value: Any) -> None:
    """Keep a child from ever freeing an object that belongs to its parent, even when the child ends."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))


_instances: weakref.WeakValueDictionary[int, ForkAware] = weakref.WeakValueDictionary()


def _existing() -> list[ForkAware]:
    # valuerefs copies in one step, so that other threads may make such objects meanwhile.
    instances = [reference() for reference in _instances.valuerefs()]
    return [instance for instance in instances if instance is not None]


def _before_fork() -> None:
    for instance in _existing():
        instance.before_fork()


def _after_fork_in_parent() -> None:
    for instance in _existing():
        instance.after_fork_in_parent()


def _after_fork_in_child() -> None:
    for instance in _existing():
        instance.after_fork_in_child()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)
