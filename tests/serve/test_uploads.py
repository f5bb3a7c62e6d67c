"""Names and contents of uploaded documents, and how they are kept on disk."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from docrag.errors import EmptyDocument, UnsupportedFile
from docrag.serve.peers import Peers
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
    peers = Peers(tmp_path / ".serve")
    uploads = Uploads(tmp_path / "uploads", peers)
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
    assert uploads.recover() == []  # they wait for this server already
    peers.leave()
    assert set(uploads.recover()) == set(paths)
    assert uploads.recover() == []


def test_documents_are_taken_over_from_servers_that_were_killed_and_from_no_others(tmp_path: Path):
    folder, peers = tmp_path / "uploads", Peers(tmp_path / ".serve")
    alive, killed, unknown = (folder / name for name in ("alive.pdf", "killed.pdf", "unknown.pdf"))
    accept = """
import io, sys
from pathlib import Path
from docrag.serve.peers import Peers
from docrag.serve.peers import Peers
from docrag.serve.uploads import Uploads
home, name = Path(sys.argv[1]), sys.argv[2]
uploads = Uploads(home / "uploads", Peers(home / ".serve"))
uploads.accept(name, io.BytesIO(b"%PDF-" + name.encode()))
print("accepted", flush=True)
sys.stdin.read()
"""
    servers = [
        subprocess.Popen(
            [sys.executable, "-c", accept, str(tmp_path), path.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for path in (alive, killed)
    ]
    for server in servers:
        assert server.stdout.readline() == b"accepted\n"
    unknown.write_bytes(b"%PDF-")
    unknown.with_name(".unknown.pdf.waiting").touch()  # of a version that did not name the server
    folder.joinpath(".half.pdf.waiting").touch()
    folder.joinpath(".half.pdf.part").touch()
    servers[1].kill()
    servers[1].communicate()
    assert Uploads(folder, peers).recover() == [killed, unknown]
    assert not list(folder.glob(".half*"))
    assert Uploads(folder, Peers(tmp_path / ".serve")).recover() == []  # another one that starts now
    servers[0].communicate()
    assert Uploads(folder, peers).recover() == [alive]


def test_a_document_and_its_name_are_on_disk_before_it_is_accepted(tmp_path: Path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(stat.S_ISDIR(os.fstat(file).st_mode)))
    assert Uploads(tmp_path, Peers(tmp_path / ".serve")).accept("a.pdf", io.BytesIO(b"%PDF-1.7")).is_file()
    assert synced == [False, True]


def test_the_content_decides_and_not_the_name(tmp_path: Path):
    uploads = Uploads(tmp_path / "uploads", Peers(tmp_path / ".serve"))
    assert uploads.accept("a.png", io.BytesIO(b"%PDF-1.4")).name == "a.png.pdf"
    with pytest.raises(EmptyDocument):
        uploads.accept("a.pdf", io.BytesIO(b""))
    with pytest.raises(UnsupportedFile, match="passwd"):
        uploads.accept("../passwd", io.BytesIO(b"root:x:0:0"))
