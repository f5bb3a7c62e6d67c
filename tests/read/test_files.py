import hashlib
import os
from pathlib import Path

import pytest

from docrag.errors import NotFound, UnreadableDocument
from docrag.read import find_files, sha256


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_folders_are_walked_in_sorted_order_without_hidden_entries(tmp_path):
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


@pytest.fixture
def closed(monkeypatch):
    """Makes folders that cannot be listed, without permissions, since tests may run as root."""
    names: set[Path] = set()
    scandir = os.scandir

    def refusing(folder):
        if Path(folder) in names:
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    return names.add


def test_a_folder_that_cannot_be_listed_is_reported_and_the_others_are_walked(tmp_path, closed):
    touch(tmp_path, "a/one.pdf", "b/two.pdf", "b/deeper/three.pdf", "c.pdf")
    closed(tmp_path / "b")
    refused = {}
    assert find_files([tmp_path], refused.__setitem__) == [tmp_path / "a" / "one.pdf", tmp_path / "c.pdf"]
    assert list(refused) == [tmp_path / "b"]
    assert refused[tmp_path / "b"].message == f"{tmp_path / 'b'}: Permission denied"
    assert refused[tmp_path / "b"].hint


def test_a_named_folder_that_cannot_be_listed_is_reported_as_well(tmp_path, closed):
    touch(tmp_path, "a/one.pdf", "b.pdf")
    closed(tmp_path / "a")
    refused = {}
    assert find_files([tmp_path / "a", tmp_path / "b.pdf"], refused.__setitem__) == [tmp_path / "b.pdf"]
    assert list(refused) == [tmp_path / "a"]


def test_without_a_callback_an_unreadable_folder_is_an_error(tmp_path, closed):
    touch(tmp_path, "a/one.pdf")
    closed(tmp_path / "a")
    with pytest.raises(UnreadableDocument, match="Permission denied"):
        find_files([tmp_path])


def test_a_path_whose_type_cannot_be_read_is_reported(tmp_path, monkeypatch):
    touch(tmp_path, "b.pdf")
    hidden, is_dir = tmp_path / "locked" / "a.pdf", Path.is_dir

    def denied(path):
        if path == hidden:
            raise PermissionError(13, "Permission denied", str(path))
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", denied)
    refused = {}
    assert find_files([hidden, tmp_path / "b.pdf"], refused.__setitem__) == [tmp_path / "b.pdf"]
    assert list(refused) == [hidden]


def test_a_link_that_cannot_be_followed_is_reported(tmp_path):
    touch(tmp_path, "a.pdf")
    (tmp_path / "loop.pdf").symlink_to(tmp_path / "loop.pdf")
    (tmp_path / "gone.pdf").symlink_to(tmp_path / "nowhere.pdf")
    refused = {}
    assert find_files([tmp_path], refused.__setitem__) == [tmp_path / "a.pdf"]
    assert list(refused) == [tmp_path / "loop.pdf"]
