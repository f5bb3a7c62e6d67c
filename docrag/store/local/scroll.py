"""A scroll reads records step by step, here or in another process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from docrag.types import PageRecord


def scroll_in_steps(
    step: Callable[[str | None], tuple[list[PageRecord], str | None]],
) -> Iterator[PageRecord]:
    """Yield the records of all steps of a scroll.

    Args:
        step: Reads the records at an offset, and says where to continue.
    """
    offset: str | None = None
    while True:
        records, offset = step(offset)
        yield from records
        if offset is None:
            return
