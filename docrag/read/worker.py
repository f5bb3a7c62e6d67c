"""What runs inside a worker process: documents are opened, and pages are read, rendered and recognised.

The parent process imports this module too, to name these functions to its workers, so PyMuPDF and OCR are
loaded in the workers only.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from docrag.common.images import jpeg_within
from docrag.errors import DocumentError, PageFailed, UnreadableDocument
from docrag.read.jobs import ReadOptions
from docrag.types import Block, Document, Page, PageImage, Word

if TYPE_CHECKING:
    from docrag.read.ocr import OcrReader
    from docrag.read.source import Source

KEPT_OPEN = 4
"""How many documents a worker keeps open."""
_GRACE = 30.0
"""Seconds beyond a task's timeout after which a worker ends itself."""
_PR_SET_PDEATHSIG = 1


class FirstReading(NamedTuple):
    """A page as it was read without OCR."""

    page: Page
    needs_ocr: bool
    reason: str
    """Why OCR is needed or not, for the log."""
    seconds: float
    """How long rendering took."""


class Worker:
    """The documents and models that one worker process holds."""

    def __init__(self, options: ReadOptions) -> None:
        self.options = options
        self._sources: OrderedDict[str, Source] = OrderedDict()
        self._ocr: OcrReader | None = None
        # faulthandler writes into it; a file descriptor stays open as long as the process lives.
        self._null_file = os.open(os.devnull, os.O_WRONLY)

    def source(self, path: Path) -> Source:
        """Return the open document; if too many are open, the least recently used one is closed."""
        from docrag.read.opening import open_source

        key = str(path)
        if key not in self._sources:
            self._sources[key] = open_source(path, self.options.passwords)
            if len(self._sources) > KEPT_OPEN:
                _, oldest = self._sources.popitem(last=False)
                oldest.close()
        self._sources.move_to_end(key)
        return self._sources[key]

    def ocr(self) -> OcrReader:
        """Return the OCR model, which is loaded on the first call."""
        if self._ocr is None:
            from docrag.read.ocr import OcrReader

            self._ocr = OcrReader(self.options.threads)
        return self._ocr

    @contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """End this process if the block takes much longer than `seconds`.

        The parent kills a worker that exceeds its timeout, so this happens only if the parent is gone. The
        timer runs in C and therefore also ends a process that hangs in C code.
        """
        faulthandler.dump_traceback_later(seconds + _GRACE, exit=True, file=self._null_file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


_worker: Worker | None = None


def start(options: ReadOptions, parent: int) -> None:
    """Initialise this process as a worker of the process with the id `parent`."""
    global _worker
    # The default action ends the process at once, even in C code, where no Python handler would run.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _die_with(parent)
    # Loading it takes a second, which would otherwise count against the first document's timeout.
    import docrag.read.opening  # noqa: F401

    _worker = Worker(options)


def open_document(path: Path, document_id: str, sources: tuple[str, ...]) -> Document:
    """Open a document and return its description.

    Raises:
        DocumentError: The document cannot be opened.
    """
    worker = _current_worker()
    try:
        with worker.limit(worker.options.page_timeout):
            source = worker.source(path)
            return Document(document_id, sources, source.total_pages, source.title, source.headline)
    except DocumentError:
        raise
    except Exception as error:
        raise UnreadableDocument(f"{path.name} cannot be read: {_reason(error)}") from error


def read_page(path: Path, document: Document, number: int) -> FirstReading:
    """Read and render one page, counted from 1.

    Raises:
        PageFailed: The page cannot be read or rendered.
    """
    from docrag.read.ocr import decide_ocr

    worker = _current_worker()
    options = worker.options
    with _page_errors(), worker.limit(options.page_timeout):
        source = worker.source(path)
        layer = source.text_layer(number)
        started = time.perf_counter()
        picture = source.picture(number, options.image_side, options.max_pixels)
        jpeg, _ = jpeg_within(picture, options.jpeg_quality)
        seconds = time.perf_counter() - started
        needs_ocr, reason = decide_ocr(layer, picture, options.ocr)
        image = PageImage(jpeg, picture.width, picture.height)
        page = Page(
            document, number, layer.label, layer.width, layer.height, layer.words, layer.blocks, image
        )
        return FirstReading(page, needs_ocr, reason, seconds)


def recognise_page(path: Path, number: int) -> tuple[tuple[Word, ...], tuple[Block, ...]]:
    """Return the words and blocks that OCR finds on a page, counted from 1.

    Raises:
        PageFailed: OCR failed.
    """
    from docrag.read.ocr import OCR_SIDE

    worker = _current_worker()
    with _page_errors(), worker.limit(worker.options.ocr_timeout):
        picture = worker.source(path).picture(number, OCR_SIDE, worker.options.max_pixels)
        return worker.ocr().words(picture)


@contextmanager
def _page_errors() -> Iterator[None]:
    """Turn every error into one that can be sent to the parent process; MuPDF's own cannot be pickled."""
    try:
        yield
    except Exception as error:
        raise PageFailed(_reason(error)) from error


def _reason(error: Exception) -> str:
    """The message of an error in one line."""
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, DocumentError):
        return error.message
    return " ".join(str(error).split()) or type(error).__name__


def _current_worker() -> Worker:
    if _worker is None:
        raise RuntimeError("start() must run first in this process")
    return _worker


def _die_with(parent: int) -> None:
    """Make the kernel kill this process when its parent ends, even while it hangs in C code.

    On systems other than Linux a worker ends when its pipe is closed, or by `Worker.limit` if it hangs.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have ended before this was set.
        if os.getppid() != parent:
            os._exit(1)
