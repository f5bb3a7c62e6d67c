"""Captions that are carried from one cache to another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from docrag.caption.cache import CaptionCache
from docrag.errors import StoreError


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Callable[..., CaptionCache]]:
    """A cache by name and recipe."""
    made: list[CaptionCache] = []

    def make(name: str, recipe: str = "r") -> CaptionCache:
        made.append(CaptionCache(tmp_path / f"{name}.sqlite", recipe))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_captions_of_all_recipes_are_carried(cache):
    here, other, there = cache("here"), cache("here", "other"), cache("there")
    here.put("b", 'a "quoted" — ü\nline')
    here.put("a", "first")
    other.put("a", "asked otherwise")
    assert len(here) == 3
    assert there.merge(here.lines()) == 3
    assert list(there.lines()) == list(here.lines())
    assert there.get("b") == 'a "quoted" — ü\nline'
    assert cache("there", "other").get("a") == "asked otherwise"


def test_what_is_here_already_stays(cache):
    here, there = cache("here"), cache("there")
    for page in "ab":
        here.put(page, "old")
    there.put("a", "newer")
    assert there.merge(here.lines()) == 1
    assert (there.get("a"), there.get("b")) == ("newer", "old")
    assert there.merge(here.lines()) == 0


@pytest.mark.parametrize("bad", [b"", b"[]", b'{"page": "a"}', b"\xff", b"null"])
def test_all_lines_or_none(cache, bad: bytes):
    here, there = cache("here"), cache("there")
    here.put("a", "said")
    with pytest.raises(StoreError, match="not an exported caption"):
        there.merge([*here.lines(), bad])
    assert len(there) == 0
    there.put("b", "it can still be written")
    assert there.get("b")


def test_a_file_that_is_no_cache_is_named(tmp_path: Path):
    path = tmp_path / "captions.sqlite"
    path.write_bytes(b"no database, but long enough to be told from one" * 100)
    with pytest.raises(StoreError, match=r"captions\.sqlite"), closing(CaptionCache(path)):
        pass
