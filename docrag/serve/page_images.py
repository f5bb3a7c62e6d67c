"""Where the images of pages are that a server shows: of its own index, and of others if it is told so."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from docrag.errors import DocumentError, NotFound, StoreError
from docrag.ingest.staging import IMAGES
from docrag.serve.errors import for_clients
from docrag.store.images import PageImages
from docrag.types import page_id

if TYPE_CHECKING:
    from docrag import Index
    from docrag.serve.settings import ServeSettings

logger = logging.getLogger(__name__)


class ServedPages:
    """Finds the image of a page among the indexes whose pages a server shows.

    A document is named by the sha256 of its file, so its pages look the same whichever index holds them.

    Args:
        index: The index that is served.
        settings: They name it, and the other indexes with their folders on this machine.
    """

    def __init__(self, index: Index, settings: ServeSettings) -> None:
        self._index = index
        self._names = (settings.source, *(name for name, _ in settings.other_pages))
        self._others = [PageImages(folder / IMAGES) for _, folder in settings.other_pages]

    def image_path(self, document_id: str, number: int, index_name: str = "") -> Path:
        """Return the file of a page's image.

        Args:
            document_id: The sha256 of the document's file.
            number: Page number, from 1.
            index_name: The index that the address names; addresses of the older form name none.

        Raises:
            NotFound: No index that is shown has the page, or its image is on another machine and cannot be
                made here.
        """
        for images in self._others:
            path = images.path(document_id, number)
            if path.is_file():
                return path
        pages = self._index.pages([page_id(document_id, number)])
        if not pages:
            raise self._unknown_page(document_id, number, index_name)
        [page] = pages
        try:
            return page.image_file()
        except (DocumentError, StoreError) as error:  # a StoreError: the image cannot be written
            logger.warning("page %d of %s has no image: %s", number, document_id, error)
            raise NotFound(*for_clients(error)) from error

    def _unknown_page(self, document_id: str, number: int, index_name: str) -> NotFound:
        shown = " and ".join(self._names)
        if index_name and index_name not in self._names:
            return NotFound(
                f"this server shows the pages of {shown}, not those of {index_name}",
                f"start docrag serve with --pages-of and the address of {index_name}",
            )
        return NotFound(
            f"{shown} has no page {number} of the document {document_id[:12]}...",
            "if another index holds it, start docrag serve with --pages-of and the address of that index",
        )
