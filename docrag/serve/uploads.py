"""Uploaded documents on disk: safe names, detected types, and no accepted document ever lost.

A file that waits to be ingested has a marker beside it, `.<name>.waiting`, which names the server that is to
ingest it. The marker is created before the file, and removed once the file is ingested or refused. So the
next server that starts finds what a server that was killed had accepted, and leaves to the others what is
theirs.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from docrag.errors import EmptyDocument, StorageFull, StoreError, UnsupportedFile
from docrag.serve.peers import Peers

logger = logging.getLogger(__name__)

_HEAD_BYTES = 1024
_SIGNATURES = (
    (".png", b"\x89PNG\r\n\x1a\n"),
    (".jpg", b"\xff\xd8\xff"),
    (".tif", b"II*\x00"),
    (".tif", b"MM\x00*"),
)
_SUFFIX_ALIASES = {".jpeg": ".jpg", ".tiff": ".tif"}
_MAX_NAME_BYTES = 160
"""Length of a name without its suffix; file systems allow 255 bytes including markers and numbers."""


class Uploads:
    """The folder of uploaded documents.

    Args:
        folder: Created when the first document arrives.
        peers: The servers that share the folder.
    """

    def __init__(self, folder: Path, peers: Peers) -> None:
        self.folder = folder.absolute()
        self._peers = peers

    def accept(self, name: str, content: BinaryIO) -> Path:
        """Keep a document; once this returns, it survives a crash.

        A file that already has the same name stays. If it also has the same content, the new document is
        that file; otherwise the new one gets a number.

        Args:
            name: The name that the client sent, which may be any text.
            content: The document, positioned at its beginning, and seekable.

        Returns:
            The path of the file, which now waits to be ingested.

        Raises:
            EmptyDocument: The content is empty.
            UnsupportedFile: It is neither a PDF nor an image.
            StorageFull: The disk is full.
            StoreError: The folder cannot be written.
        """
        file_name = safe_name(name, detect_suffix(name, content.read(_HEAD_BYTES)))
        content.seek(0)
        digest = _digest(content)
        with _disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for candidate in _numbered(self.folder / file_name):
                if _has_digest(candidate, digest):
                    self._claim(candidate)
                    logger.info("accepted upload %a, which is already here", candidate.name)
                    return candidate
                if not candidate.exists() and self._reserve(candidate):
                    content.seek(0)
                    self._write(candidate, content)
                    logger.info("accepted upload %a", candidate.name)
                    return candidate
        raise AssertionError("numbers do not end")

    def finish(self, path: Path, *, keep: bool) -> None:
        """Stop waiting for a document that was ingested or refused, and delete it unless it is kept."""
        if not keep:
            path.unlink(missing_ok=True)
        _marker(path).unlink(missing_ok=True)

    def recover(self) -> list[Path]:
        """Take over the documents that servers accepted which have ended; partial files are deleted.

        Raises:
            StoreError: The folder cannot be written.
        """
        waiting = []
        with _disk_errors(self.folder), self._peers.alone():
            for marker in sorted(self.folder.glob(".*.waiting")):
                if self._peers.is_alive(marker.read_text()):
                    continue
                path = self.folder / marker.name.removeprefix(".").removesuffix(".waiting")
                if path.is_file():
                    marker.write_text(self._peers.join())
                    waiting.append(path)
                else:
                    marker.unlink()
            for partial_file in self.folder.glob(".*.part"):
                path = partial_file.with_name(partial_file.name.removeprefix(".").removesuffix(".part"))
                if not _marker(path).exists():
                    partial_file.unlink(missing_ok=True)
        return waiting

    def contains(self, file: str) -> bool:
        """Whether a file of the index was uploaded, so that it is deleted along with its document."""
        return Path(file).parent == self.folder

    def _reserve(self, path: Path) -> bool:
        """Reserve a name; False if another upload has it."""
        with self._peers.alone():  # a marker must not be seen before it names its server
            if _marker(path).exists():
                return False
            _marker(path).write_text(self._peers.join())
        return True

    def _claim(self, path: Path) -> None:
        """Wait for a document that is here already; another server may do so, too."""
        with self._peers.alone():
            _marker(path).write_text(self._peers.join())

    def _write(self, path: Path, content: BinaryIO) -> None:
        partial_file = _partial_file(path)
        try:
            with partial_file.open("wb") as file:
                shutil.copyfileobj(content, file)
                file.flush()
                os.fsync(file.fileno())
            partial_file.replace(path)
            _sync_directory(self.folder)
        except OSError:
            partial_file.unlink(missing_ok=True)
            _marker(path).unlink(missing_ok=True)
            raise


def detect_suffix(name: str, head: bytes) -> str:
    """The suffix that fits a content, by its first bytes; the name of the file does not count.

    Args:
        name: Name of the file, for errors.
        head: The first kilobyte of the file.

    Raises:
        EmptyDocument: The content is empty.
        UnsupportedFile: It is neither a PDF nor an image.

    >>> detect_suffix("a.txt", b"%PDF-1.7 ..."), detect_suffix("b", b"RIFF....WEBPVP8 ")
    ('.pdf', '.webp')
    """
    if not head:
        raise EmptyDocument(f"{safe_name(name, '')} is empty (0 bytes)", "copy or download it again")
    if b"%PDF-" in head:
        return ".pdf"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ".webp"
    for suffix, signature in _SIGNATURES:
        if head.startswith(signature):
            return suffix
    raise UnsupportedFile(f"{safe_name(name, '')} is neither a PDF nor an image", "convert it to PDF")


def safe_name(name: str, suffix: str) -> str:
    r"""A safe file name from whatever a client sends: the last part of a path, without unusual characters.

    >>> safe_name("../../etc/passwd", ".pdf"), safe_name("C:\\scans\\Invoice 7.PDF", ".pdf")
    ('passwd.pdf', 'Invoice 7.pdf')
    >>> safe_name("..", ".pdf"), safe_name("a\x00b\u202ec.jpeg", ".jpg")
    ('document.pdf', 'a_b_c.jpg')
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    stem, dot, extension = last.rpartition(".")
    own_suffix = f".{extension.lower()}"
    if dot and suffix and _SUFFIX_ALIASES.get(own_suffix, own_suffix) == suffix:
        last = stem
    clean = re.sub(r"[^\w .,()+@=&-]", "_", last).strip(" .")
    short = clean.encode(errors="ignore")[:_MAX_NAME_BYTES].decode(errors="ignore").strip(" .")
    return (short or "document") + suffix


def _numbered(path: Path) -> Iterator[Path]:
    """A path, then the same path with the numbers 2, 3, ..."""
    yield path
    number = 2
    while True:
        yield path.with_name(f"{path.stem} ({number}){path.suffix}")
        number += 1


def _marker(path: Path) -> Path:
    return path.with_name(f".{path.name}.waiting")


def _partial_file(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _sync_directory(folder: Path) -> None:
    """Make the names of new files survive a power cut; their contents were synced before."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _has_digest(path: Path, digest: bytes) -> bool:
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
def _disk_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the disk into docrag's own."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull("there is no space left for uploads", "free some disk space") from error
        raise StoreError(f"cannot write {folder}: {error.strerror}") from error
