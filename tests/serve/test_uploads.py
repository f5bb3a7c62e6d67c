"""Names and contents of uploaded documents, and how they are kept on disk."""

from __future__ import annotations

import io
import os
import stat
import threading
from pathlib import Path

import pytest

from docrag.errors import EmptyDocument, UnsupportedFile
from docrag.serve.uploads import Uploads, safe_name


def test_names_are_the_last_part_of_a_path_and_short():
    assert safe_name("/etc/passwd", ".pdf") == "passwd.pdf"
    assert safe_name("..\\..\\x.pdf", ".pdf") == "x.pdf"
    assert safe_name("%2e%2e%2fx.pdf", ".pdf") == "_2e_2e_2fx.pdf"
    assert safe_name(".hidden.pdf", ".pdf") == "hidden.pdf"
    assert safe_name("Jahresbericht größer.PDF", ".pdf") == "Jahresbericht größer.pdf"
    for name in ("", ".", "..", "/", "\ud800", "\x00", " . "):
        assert safe_name(name, ".pdf") in ("document.pdf", "_.pdf")
    assert len(safe_name("ü" * 5000, ".pdf").encode()) <= 170


def test_simultaneous_uploads_of_one_name_get_different_names(tmp_path: Path):
    uploads = Uploads(tmp_path / "uploads")
    paths: list[Path] = []

    def accept(n: int) -> None:
        paths.append(uploads.accept("x.pdf", io.BytesIO(b"%PDF-" + str(n).encode())))

    threads = [threading.Thread(target=accept, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 20
    assert {path.read_bytes() for path in paths} == {b"%PDF-" + str(n).encode() for n in range(20)}
    assert set(uploads.recover()) == set(paths)


def test_a_document_and_its_name_are_on_disk_before_it_is_accepted(tmp_path: Path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(stat.S_ISDIR(os.fstat(file).st_mode)))
    assert Uploads(tmp_path).accept("a.pdf", io.BytesIO(b"%PDF-1.7")).is_file()
    assert synced == [False, True]


def test_the_content_decides_and_not_the_name(tmp_path: Path):
    uploads = Uploads(tmp_path / "uploads")
    assert uploads.accept("a.png", io.BytesIO(b"%PDF-1.4")).name == "a.png.pdf"
    with pytest.raises(EmptyDocument):
        uploads.accept("a.pdf", io.BytesIO(b""))
    with pytest.raises(UnsupportedFile, match="passwd"):
        uploads.accept("../passwd", io.BytesIO(b"root:x:0:0"))
