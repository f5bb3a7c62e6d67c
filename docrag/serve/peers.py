"""The server processes of one index: several `docrag serve`, or the workers of one address."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from docrag.common.files import FolderLock, lock_holder
from docrag.errors import StoreError

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[0-9a-f]{32}")
_LOCK = re.compile(r"\.([0-9a-f]{32})\.lock")


class Peers:
    """Tells which servers of an index are alive: each holds a lock, which ends with its process.

    A process counts as one of them from the first time it asks for its own name, so that an application can
    be built before its process forks into workers.

    Args:
        folder: Where the locks are; created when the first server needs it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._own: FolderLock | None = None
        self._own_name = uuid.uuid4().hex

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep all other servers, and other threads of this one, from running such a block meanwhile.

        Raises:
            StoreError: The folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot write {self.folder}: {error.strerror}") from error
        lock = FolderLock.wait_for(self.folder / "servers")
        assert lock is not None, "nothing ends the wait"
        with lock:
            yield

    def join(self) -> str:
        """The name of this server, by which the others see from now on that it is alive.

        Call it within `alone`.

        Raises:
            StoreError: The folder cannot be written.
        """
        if self._own is None:
            self._own = FolderLock(self.folder / self._own_name)
            logger.debug("this server is %s in %s", self._own_name, self.folder)
        return self._own_name

    def is_alive(self, name: str) -> bool:
        """Whether a server of that name runs; a text that is no name of a server names none."""
        return _NAME.fullmatch(name) is not None and lock_holder(self.folder / name) is not None

    def leave(self) -> None:
        """Let the others see that this server has ended."""
        if self._own is not None:
            self._own.release()
            self._own = None
            _lock_file(self.folder, self._own_name).unlink(missing_ok=True)
            self._own_name = uuid.uuid4().hex

    def forget_dead(self) -> None:
        """Remove the locks of servers that were killed. Call it within `alone`."""
        for file in self.folder.glob(".*.lock"):
            name = _LOCK.fullmatch(file.name)
            if name is not None and not self.is_alive(name[1]):
                logger.info("server %s in %s was killed", name[1], self.folder)
                file.unlink(missing_ok=True)


def _lock_file(folder: Path, name: str) -> Path:
    return folder / f".{name}.lock"
