"""The page images of an index, as JPEG files."""

from __future__ import annotations

import errno
import shutil
from dataclasses import dataclass
from pathlib import Path

from docrag.common.files import write_atomically
from docrag.errors import StorageFull, StoreError
from docrag.store.payload import document_folder, image_file


@dataclass(frozen=True, slots=True)
class PageImages:
    """The page images of an index, in a folder that is created when the first image is written."""

    root: Path

    def path(self, document_id: str, number: int) -> Path:
        """Return the path of a page's image, whether it exists or not; pages count from 1.

        Raises:
            StoreError: The id is not a valid document id; it could lead out of the folder.
        """
        return image_file(self.root, document_id, number)

    def write(self, document_id: str, number: int, jpeg: bytes) -> Path:
        """Write the image of a page; a reader sees the old file or the new one, never half of one.

        Raises:
            StorageFull: The disk is full.
            StoreError: The folder cannot be written.
        """
        target = self.path(document_id, number)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, jpeg)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise StorageFull(
                    f"no space left for page images in {self.root}", "free some space"
                ) from error
            raise StoreError(f"cannot write {target}: {error.strerror}") from error
        return target

    def remove(self, document_id: str) -> None:
        """Remove the images of a document, if it has any."""
        folder = document_folder(self.root, document_id)
        if folder.is_dir():
            shutil.rmtree(folder)
