"""The page images that go into an export."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from docrag.errors import DocumentError, StoreError
from docrag.index.page_images import PageRenderer

if TYPE_CHECKING:
    from docrag.ingest.storage import Storage
    from docrag.read.jobs import ReadOptions

logger = logging.getLogger(__name__)


class ExportedImages:
    """Finds the images of pages, and renders those from the files here that only another machine has.

    Args:
        storage: The index.
        options: How its pages are rendered; None to render none.
    """

    def __init__(self, storage: Storage, options: ReadOptions | None = None) -> None:
        self._storage = storage
        self._options = options
        self._missing = 0

    def size(self, document_id: str, number: int) -> int:
        """Return the bytes of a page's image, which is rendered if it is missing; 0 if it cannot be had.

        Args:
            document_id: The document.
            number: The page, from 1.
        """
        path = self._storage.images.path(document_id, number)
        if not path.is_file():
            self._render(document_id, number)
        if path.is_file():
            return path.stat().st_size
        self._missing += 1
        return 0

    def warn_of_missing(self) -> None:
        """Warn of the pages whose images could not be had, if there are any."""
        if self._missing:
            logger.warning(
                "%d pages are exported without an image, which is not here and cannot be rendered; "
                "export on the machine that has it, or ingest the files here with --again",
                self._missing,
            )

    def _render(self, document_id: str, number: int) -> None:
        files = tuple(self._storage.manifest.files(document_id))
        if self._options is None or not files:
            return
        try:
            PageRenderer(self._storage.images, files, number, self._options)()
        except (DocumentError, StoreError) as error:
            logger.info("page %d of %s has no image: %s", number, files[0].path, error.message)
