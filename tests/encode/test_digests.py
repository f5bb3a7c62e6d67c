import hashlib
import os

import pytest

from docrag.encode import digests


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
