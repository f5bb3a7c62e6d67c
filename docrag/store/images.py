"""The rendered pages, as JPEG files beside the index."""

from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path

from docrag.errors import StorageFull, StoreError

_ID = re.compile(r"[0-9A-Za-z_-]{3,}")


class PageImages:
    """Page images under a folder: root/ab/<document id>/<page number>.jpg.

    Args:
        root: The folder; made when the first image is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, document_id: str, number: int) -> Path:
        """Where the image of a page is, or would be; pages count from 1.

        Raises:
            StoreError: The id is not one that docrag gives, so it could lead out of the folder.
        """
        return self._folder(document_id) / f"{number}.jpg"

    def write(self, document_id: str, number: int, jpeg: bytes) -> Path:
        """Keep the image of a page; a reader sees the old file or the new one, never half of it.

        Raises:
            StorageFull: The disk is full.
            StoreError: The folder cannot be written.
        """
        target = self.path(document_id, number)
        # One process at a time writes an index, so what a killed one left here is written over by the next.
        draft = target.with_name(f".{number}.tmp")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(jpeg)
            draft.replace(target)
        except OSError as error:
            draft.unlink(missing_ok=True)
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise StorageFull(
                    f"no space left for page images in {self.root}", "free some space"
                ) from error
            raise StoreError(f"cannot write {target}: {error.strerror}") from error
        return target

    def remove(self, document_id: str) -> None:
        """Remove the images of a document; it need not have any."""
        folder = self._folder(document_id)
        if folder.is_dir():
            shutil.rmtree(folder)

    def _folder(self, document_id: str) -> Path:
        if not _ID.fullmatch(document_id):
            raise StoreError(f"{document_id!r} is not the id of a document")
        return self.root / document_id[:2] / document_id
