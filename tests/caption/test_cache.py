"""Captions that are copied from one cache to another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from docrag.caption.cache import CaptionCache
from docrag.errors import StoreError


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Callable[..., CaptionCache]]:
    """Opens a cache by name and recipe."""
    opened: list[CaptionCache] = []

    def make(name: str, recipe: str = "r") -> CaptionCache:
        opened.append(CaptionCache(tmp_path / f"{name}.sqlite", recipe))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def test_captions_of_all_recipes_are_copied(cache):
    source, other, target = cache("source"), cache("source", "other"), cache("target")
    source.put("b", 'a "quoted" — ü\nline')
    source.put("a", "first")
    other.put("a", "with other settings")
    assert len(source) == 3
    assert target.merge(source.lines()) == 3
    assert list(target.lines()) == list(source.lines())
    assert target.get("b") == 'a "quoted" — ü\nline'
    assert cache("target", "other").get("a") == "with other settings"


def test_existing_captions_are_kept(cache):
    source, target = cache("source"), cache("target")
    for page in "ab":
        source.put(page, "old")
    target.put("a", "newer")
    assert target.merge(source.lines()) == 1
    assert (target.get("a"), target.get("b")) == ("newer", "old")
    assert target.merge(source.lines()) == 0


@pytest.mark.parametrize("bad", [b"", b"[]", b'{"page": "a"}', b"\xff", b"null"])
def test_all_lines_are_added_or_none(cache, bad: bytes):
    source, target = cache("source"), cache("target")
    source.put("a", "said")
    with pytest.raises(StoreError, match="not an exported caption"):
        target.merge([*source.lines(), bad])
    assert len(target) == 0
    target.put("b", "can still be written")
    assert target.get("b")


def test_a_file_that_is_not_a_cache_is_named(tmp_path: Path):
    path = tmp_path / "captions.sqlite"
    path.write_bytes(b"not a database, but long enough to be recognised as none" * 100)
    with pytest.raises(StoreError, match=r"captions\.sqlite"), closing(CaptionCache(path)):
        pass
