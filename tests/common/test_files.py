from __future__ import annotations

from pathlib import Path

import pytest

from docrag.common.files import is_writable, write_atomically


@pytest.mark.parametrize("sync", [False, True])
def test_content_replaces_what_was_there(tmp_path: Path, sync: bool):
    path = tmp_path / "note.json"
    write_atomically(path, "Straße", sync=sync)
    assert path.read_bytes() == "Straße".encode()
    write_atomically(path, b"new", sync=sync)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "note.json"
    write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new", sync=True)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_next_write_replaces_what_a_killed_process_left(tmp_path: Path):
    (tmp_path / ".note.json.tmp").write_bytes(b"half")
    write_atomically(tmp_path / "note.json", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["note.json"]


def test_what_can_be_written(tmp_path: Path):
    (tmp_path / "note.json").write_text("{}")
    assert is_writable(tmp_path)
    assert is_writable(tmp_path / "note.json")
    assert not is_writable(tmp_path / "missing")
    assert not is_writable(Path("/proc/sys/kernel/version"))  # nobody may write it, root included
