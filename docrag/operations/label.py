"""Label files without an index: read, encode, compare."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from docrag.errors import DocumentError
from docrag.index.model_selection import encoder_options, image_encoder
from docrag.location.directory import locate
from docrag.settings import Settings, load_settings

if TYPE_CHECKING:
    from docrag.read.jobs import Event
    from docrag.search.label import LabelledPage
    from docrag.types import Page


def label_files(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    labels: Sequence[str],
    *,
    template: str = "{}",
    passwords: Sequence[str] = (),
    settings: Settings | None = None,
    refused: Callable[[str, DocumentError], None] | None = None,
) -> Iterator[LabelledPage]:
    """Zero-shot classification of the pages of PDFs and of images.

    Args:
        paths: Files, and folders that are walked.
        labels: What a page may be, in any language that the encoder knows.
        template: How a label is put to the encoder, such as "a scan of a {}".
        passwords: Tried on encrypted documents.
        settings: `image` names the encoder; by default that of the index at `index`, where there is one.
        refused: Hears of each file or page that cannot be read; without it the error is raised.

    Yields:
        One for each page, as they are read.

    Raises:
        NotFound: A path does not exist.
        QueryError: There are no labels, or no encoder that compares images with texts.
    """
    from docrag.read.files import find_files, sha256
    from docrag.read.jobs import ReadJob, ReadOptions
    from docrag.read.pool import ReaderPool
    from docrag.search.label import label_pages

    settings = settings or load_settings()
    with closing(locate(settings)) as location:
        stored = location.fingerprint()
    options = replace(
        encoder_options(settings), resolution=settings.resolution or 0, max_patches=settings.max_patches or 0
    )
    encoder = image_encoder(settings, stored.values if stored else {}, options)
    named = [paths] if isinstance(paths, str) or not isinstance(paths, Sequence) else paths
    tell = refused or _raise
    files = find_files([Path(path) for path in named], lambda path, error: tell(str(path), error))
    jobs = [ReadJob(file, sha256(file), (str(file),)) for file in files]
    side = max(settings.render_side, encoder.spec.image_side if encoder else 0)
    reading = ReadOptions(side, page_timeout=settings.page_timeout, ocr=False, passwords=tuple(passwords))
    with ExitStack() as held:
        held.callback(getattr(encoder, "close", lambda: None))
        pool = held.enter_context(ReaderPool(reading, settings.workers or None))
        pages = _pages(pool.read(jobs), tell)
        yield from label_pages(pages, encoder, labels, template)


def _pages(events: Iterator[Event], refused: Callable[[str, DocumentError], None]) -> Iterator[Page]:
    from docrag.read.jobs import DocumentRefused, PageLost, PageRead

    for event in events:
        match event:
            case PageRead(page=page):
                yield page
            case PageLost(error=error) | DocumentRefused(error=error):
                refused(event.job.sources[0], error)


def _raise(file: str, error: DocumentError) -> None:
    raise error
