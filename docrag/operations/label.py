"""Label files without an index: read, encode, compare."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from docrag.errors import DocumentError
from docrag.index.model_selection import image_encoder, seeing_options
from docrag.location.resolve import locate
from docrag.read.files import find_files, sha256
from docrag.read.jobs import DocumentRefused, Event, PageLost, PageRead, ReadJob, ReadOptions
from docrag.read.pool import ReaderPool
from docrag.settings import Settings, load_settings

if TYPE_CHECKING:
    from docrag.search.label import LabelledPage
    from docrag.types import Page

OnError = Callable[[str, DocumentError], None]
"""Called with the path of a file and the error."""


def label_files(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    labels: Sequence[str],
    *,
    template: str = "{}",
    passwords: Sequence[str] = (),
    settings: Settings | None = None,
    refused: OnError | None = None,
) -> Iterator[LabelledPage]:
    """Classify the pages of PDFs and of images without training (zero-shot).

    Args:
        paths: Files, and folders, which are searched recursively.
        labels: The possible labels, in any language that the encoder knows.
        template: The text in which a label is given to the encoder, such as "a scan of a {}".
        passwords: Tried on encrypted documents.
        settings: `image` names the encoder. By default it is that of the index at `index`, if there is one.
        refused: Called for each file or page that cannot be read. Without it the error is raised.

    Yields:
        One entry for each page, as the pages are read.

    Raises:
        NotFound: A path does not exist.
        QueryError: There are no labels, or no encoder that compares images with texts.
    """
    from docrag.search.label import label_pages

    settings = settings or load_settings()
    with closing(locate(settings)) as location:
        stored = location.fingerprint()
    encoder = image_encoder(settings, stored.values if stored else {}, seeing_options(settings))
    on_error = refused or _raise
    named = [paths] if isinstance(paths, str) or not isinstance(paths, Sequence) else paths
    files = find_files([Path(path) for path in named], lambda path, error: on_error(str(path), error))
    jobs = [ReadJob(file, sha256(file), (str(file),)) for file in files]
    options = ReadOptions(
        image_side=max(settings.render_side, encoder.spec.image_side if encoder else 0),
        page_timeout=settings.page_timeout,
        ocr=False,
        passwords=tuple(passwords),
    )
    with ExitStack() as resources:
        resources.callback(getattr(encoder, "close", lambda: None))
        pool = resources.enter_context(ReaderPool(options, settings.workers or None))
        yield from label_pages(_readable_pages(pool.read(jobs), on_error), encoder, labels, template)


def _readable_pages(events: Iterator[Event], on_error: OnError) -> Iterator[Page]:
    for event in events:
        match event:
            case PageRead(page=page):
                yield page
            case PageLost(error=error) | DocumentRefused(error=error):
                on_error(event.job.sources[0], error)


def _raise(file: str, error: DocumentError) -> None:
    raise error
