import hashlib
from pathlib import Path

import pytest

from docrag.errors import NotFound
from docrag.read import find_files, sha256


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_folders_are_walked_in_sorted_order_and_hidden_things_are_left_out(tmp_path):
    touch(tmp_path, "b.PDF", "a/z.jpeg", "a/y.TIF", "a/notes.txt", ".hidden/c.pdf", ".d.pdf", "c.webp")
    found = [str(path.relative_to(tmp_path)) for path in find_files([tmp_path])]
    assert found == ["a/y.TIF", "a/z.jpeg", "b.PDF", "c.webp"]


def test_a_named_file_is_kept_whatever_its_type_and_only_once(tmp_path):
    touch(tmp_path, "notes.txt", "a.pdf")
    paths = [tmp_path / "notes.txt", tmp_path, tmp_path / "a.pdf"]
    assert find_files(paths) == [tmp_path / "notes.txt", tmp_path / "a.pdf"]


def test_a_loop_of_links_ends(tmp_path):
    touch(tmp_path, "a/one.pdf")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    assert find_files([tmp_path]) == [tmp_path / "a" / "one.pdf"]


def test_a_missing_path_is_an_error_with_a_hint(tmp_path):
    with pytest.raises(NotFound, match="does not exist") as caught:
        find_files([tmp_path / "nowhere"])
    assert caught.value.hint


def test_sha256_is_that_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"page" * 100_000)
    assert sha256(tmp_path / "a") == hashlib.sha256(b"page" * 100_000).hexdigest()
