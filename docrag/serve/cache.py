"""What was answered a short while ago: people reload and go back, and many ask the same."""

from __future__ import annotations

import pickle
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from docrag.types import Hit

BYTES = 32 * 1024 * 1024
"""Of all answers together: about a thousand of ten pages each."""


class _Kept(NamedTuple):
    packed: bytes
    version: object
    until: float


class AnswerCache:
    """The latest answers, packed; any thread may ask.

    Args:
        fresh: Seconds for which one counts where others may write to the index, infinite where nobody can.
        most: Bytes of all together; the one used longest ago goes first.
    """

    def __init__(self, fresh: float, most: int = BYTES) -> None:
        self._fresh = fresh
        self._most = most
        self._size = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def get(self, asked: Hashable, version: object) -> Sequence[Hit] | None:
        """An answer, None where there is none that counts.

        Args:
            asked: All that the answer depends on, beside the documents.
            version: Of the documents now.
        """
        with self._lock:
            kept = self._kept.get(asked)
            if kept is None or kept.version is not version or time.monotonic() >= kept.until:
                return None
            self._kept.move_to_end(asked)
        hits: Sequence[Hit] = pickle.loads(zlib.decompress(kept.packed))
        return hits

    def keep(self, asked: Hashable, version: object, hits: Sequence[Hit]) -> None:
        """Keep an answer.

        Args:
            asked: All that it depends on, beside the documents.
            version: Of the documents before it was looked for.
            hits: What was found.
        """
        packed = zlib.compress(pickle.dumps(hits), 1)
        with self._lock:
            if old := self._kept.pop(asked, None):
                self._size -= len(old.packed)
            self._kept[asked] = _Kept(packed, version, time.monotonic() + self._fresh)
            self._size += len(packed)
            while self._size > self._most:
                _, oldest = self._kept.popitem(last=False)
                self._size -= len(oldest.packed)
