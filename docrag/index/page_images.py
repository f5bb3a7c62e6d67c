"""Page images that are made when they are asked for.

An ingest renders every page. A document that another machine ingested into the same collection has its images
there, so here they are made one by one, from the file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from docrag.read.files import sha256
from docrag.read.render import render_page
from docrag.store.images import PageImages
from docrag.types import IndexedPage

if TYPE_CHECKING:
    from docrag.ingest.manifest import FileRow
    from docrag.ingest.storage import Storage
    from docrag.read.jobs import ReadOptions

logger = logging.getLogger(__name__)

AnyPage = TypeVar("AnyPage", bound=IndexedPage)


@dataclass(frozen=True, slots=True)
class PageRenderer:
    """Makes the image of a page from a file that has its document."""

    images: PageImages
    files: tuple[FileRow, ...]
    """Files that had the content of the document when they were ingested."""
    number: int
    """The page, from 1."""
    options: ReadOptions

    def __call__(self) -> None:
        """Make the image, unless none of the files has the content any more.

        Raises:
            DocumentError: The file cannot be opened, or the page cannot be rendered.
            StoreError: The image cannot be written.
        """
        for file in self.files:
            if _is_unchanged(file):
                jpeg = render_page(Path(file.path), self.number, self.options)
                path = self.images.write(file.document_id, self.number, jpeg)
                logger.info("rendered %s from %s", path, file.path)
                return


def with_renderers(storage: Storage, pages: Iterable[AnyPage], options: ReadOptions) -> Iterator[AnyPage]:
    """Yield pages; those whose image is missing and whose file is here know how to make it.

    Args:
        storage: The index of the pages.
        pages: Hits, or other pages of the index.
        options: How its pages are rendered.
    """
    for page in pages:
        if page.image_path is None or page.image_path.is_file():
            yield page
            continue
        files = tuple(storage.manifest.files(page.document_id))
        yield replace(page, render=PageRenderer(storage.images, files, page.page, options)) if files else page


def _is_unchanged(file: FileRow) -> bool:
    """Whether a file still has the content that it had when it was ingested."""
    path = Path(file.path)
    try:
        stat = path.stat()
        same = (stat.st_size, stat.st_mtime_ns) == (file.size, file.mtime_ns)
        return same or sha256(path) == file.document_id
    except OSError:
        return False
