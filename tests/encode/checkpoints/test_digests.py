"""Digests of weights: remembered where that can be, and right where it cannot."""

import hashlib
import os
import sqlite3

import pytest

from docrag.encode.checkpoints import digests


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "LARGE", 4)
    return tmp_path / "cache" / "docrag" / "digests.sqlite"


def test_a_large_file_is_read_once_while_it_stays_as_it_is(tmp_path, monkeypatch):
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"random")
    first = digests.sha256_of(weights)
    assert first == hashlib.sha256(b"random").hexdigest()
    with monkeypatch.context() as patched:
        patched.setattr(digests, "_compute", lambda file: pytest.fail("it was read again"))
        assert digests.sha256_of(weights) == first
    weights.write_bytes(b"Random")
    os.utime(weights, ns=(1, 1))
    assert digests.sha256_of(weights) == hashlib.sha256(b"Random").hexdigest()


def test_small_files_leave_no_trace(tmp_path, cache):
    (tmp_path / "config.json").write_bytes(b"{}")
    assert digests.sha256_of(tmp_path / "config.json") == hashlib.sha256(b"{}").hexdigest()
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "weights.bin").write_bytes(b"random")
    assert digests.sha256_of(tmp_path / "weights.bin") == hashlib.sha256(b"random").hexdigest()


@pytest.mark.parametrize(
    ("pragma", "failure"), [("query_only = 1", "readonly"), ("max_page_count = 2", "full")]
)
def test_a_memory_that_takes_no_more_costs_only_time(tmp_path, monkeypatch, pragma, failure):
    """A root user may write any file: the connection itself is made read-only, or its disk full."""

    def bounded(opened=digests._open_cache):
        memory = opened()
        memory.execute(f"PRAGMA {pragma}")
        return memory

    weights = tmp_path / ("w" * 200) / ("w" * 200) / "weights.bin"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"random")
    digests._open_cache().close()
    monkeypatch.setattr(digests, "_open_cache", bounded)
    for seed in range(40):  # the path alone fills a page in ten rows
        os.utime(weights, ns=(seed, seed))
        moved = weights.rename(weights.with_name(f"{seed}.bin"))
        assert digests.sha256_of(moved) == hashlib.sha256(b"random").hexdigest()
        weights = moved
    with pytest.raises(sqlite3.OperationalError, match=failure):
        bounded().execute("INSERT INTO digests VALUES (?, 1, 1, 1, 1)", ("w" * 9999,))


def test_a_memory_that_is_damaged_costs_only_time(tmp_path, cache):
    (tmp_path / "weights.bin").write_bytes(b"random")
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"no database" * 1000)
    assert digests.sha256_of(tmp_path / "weights.bin") == hashlib.sha256(b"random").hexdigest()
