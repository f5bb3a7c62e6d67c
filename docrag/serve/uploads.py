"""Uploaded documents on disk: names made safe, contents looked at, and none lost that was accepted.

Beside a file that waits to be ingested stands a mark, `.<name>.waiting`: made before the file, and removed
when the file is ingested or refused. So a server that was killed finds what it had accepted when it starts.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from docrag.errors import EmptyDocument, StorageFull, StoreError, UnsupportedFile

_HEAD = 1024
_SIGNATURES = (
    (".png", b"\x89PNG\r\n\x1a\n"),
    (".jpg", b"\xff\xd8\xff"),
    (".tif", b"II*\x00"),
    (".tif", b"MM\x00*"),
)
_SAME = {".jpeg": ".jpg", ".tiff": ".tif"}
_LONGEST = 160
"""Bytes of a name without its suffix; file systems take 255 with marks and numbers."""


class Uploads:
    """The folder of uploaded documents.

    Args:
        folder: Made when the first document comes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    def accept(self, given: str, content: BinaryIO) -> Path:
        """Keep a document; when this returns it survives a crash.

        What is there under the same name stays: the same content is that file, another one gets a number.

        Args:
            given: The name that the client gives; any text.
            content: At its beginning, and seekable.

        Returns:
            The path of the file, which waits to be ingested.

        Raises:
            EmptyDocument: There is nothing in it.
            UnsupportedFile: It is neither a PDF nor an image.
            StorageFull: The disk is full.
            StoreError: The folder cannot be written.
        """
        name = safe_name(given, kind_of(given, content.read(_HEAD)))
        content.seek(0)
        digest = _digest(content)
        with _disk(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for candidate in _numbered(self.folder / name):
                if _holds(candidate, digest):
                    _mark(candidate).touch()
                    return candidate
                if not candidate.exists() and self._reserve(candidate):
                    content.seek(0)
                    self._write(candidate, content)
                    return candidate
        raise AssertionError("numbers do not end")

    def settled(self, path: Path, *, keep: bool) -> None:
        """A document was ingested, or refused and is not kept."""
        if not keep:
            path.unlink(missing_ok=True)
        _mark(path).unlink(missing_ok=True)

    def waiting(self) -> list[Path]:
        """What was accepted and not settled, from an earlier run; what came in half is removed."""
        for draft in self.folder.glob(".*.part"):
            draft.unlink()
        marks = sorted(self.folder.glob(".*.waiting"))
        found = [self.folder / mark.name.removeprefix(".").removesuffix(".waiting") for mark in marks]
        for path in found:
            if not path.is_file():
                _mark(path).unlink()
        return [path for path in found if path.is_file()]

    def owns(self, file: str) -> bool:
        """Whether a file of the index was uploaded, so that it goes with its document."""
        return Path(file).parent == self.folder

    def _reserve(self, path: Path) -> bool:
        """Take a name; False where another upload has it."""
        try:
            _mark(path).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _write(self, path: Path, content: BinaryIO) -> None:
        draft = path.with_name(f".{path.name}.part")
        try:
            with draft.open("wb") as file:
                shutil.copyfileobj(content, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            _flush_names(self.folder)
        except OSError:
            draft.unlink(missing_ok=True)
            _mark(path).unlink(missing_ok=True)
            raise


def kind_of(given: str, head: bytes) -> str:
    """The suffix for a content: what a file is, its first bytes say.

    Args:
        given: Name of the file, for errors.
        head: Its first kilobyte.

    Raises:
        EmptyDocument: There is nothing in it.
        UnsupportedFile: It is neither a PDF nor an image.

    >>> kind_of("a.txt", b"%PDF-1.7 ..."), kind_of("b", b"RIFF....WEBPVP8 ")
    ('.pdf', '.webp')
    """
    shown = safe_name(given, "")
    if not head:
        raise EmptyDocument(f"{shown} is empty (0 bytes)", "copy or download it again")
    if b"%PDF-" in head:
        return ".pdf"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ".webp"
    for suffix, signature in _SIGNATURES:
        if head.startswith(signature):
            return suffix
    raise UnsupportedFile(f"{shown} is neither a PDF nor an image", "convert it to PDF")


def safe_name(given: str, suffix: str) -> str:
    r"""A file name from whatever a client calls a file: the last part of a path, of letters that disks take.

    >>> safe_name("../../etc/passwd", ".pdf"), safe_name("C:\\scans\\Invoice 7.PDF", ".pdf")
    ('passwd.pdf', 'Invoice 7.pdf')
    >>> safe_name("..", ".pdf"), safe_name("a\x00b\u202ec.jpeg", ".jpg")
    ('document.pdf', 'a_b_c.jpg')
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", given))[-1]
    stem, dot, end = last.rpartition(".")
    if dot and suffix and _SAME.get(f".{end.lower()}", f".{end.lower()}") == suffix:
        last = stem
    clean = re.sub(r"[^\w .,()+@=&-]", "_", last).strip(" .")
    short = clean.encode(errors="ignore")[:_LONGEST].decode(errors="ignore").strip(" .")
    return (short or "document") + suffix


def _numbered(path: Path) -> Iterator[Path]:
    """A path, and then the same with numbers."""
    yield path
    number = 2
    while True:
        yield path.with_name(f"{path.stem} ({number}){path.suffix}")
        number += 1


def _mark(path: Path) -> Path:
    return path.with_name(f".{path.name}.waiting")


def _flush_names(folder: Path) -> None:
    """Let the names of files survive a power cut, too: what was written into them does already."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _holds(path: Path, digest: bytes) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _digest(file) == digest


def _digest(content: BinaryIO) -> bytes:
    digest = hashlib.sha256()
    while chunk := content.read(1 << 20):
        digest.update(chunk)
    return digest.digest()


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Errors of the disk in docrag's words."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull("no space left for uploads", "free some space") from error
        raise StoreError(f"cannot write {folder}: {error.strerror}") from error
