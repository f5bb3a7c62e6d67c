"""What happens inside a worker process: documents are opened, pages read, rendered and recognised.

Every worker imports this module, so it imports little.
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

from docrag.errors import DocumentError, PageFailed, UnreadableDocument
from docrag.read.jobs import ReadOptions
from docrag.read.source import FEW_WORDS, Source, TextLayer, encode_jpeg, is_blank, open_source
from docrag.types import Block, Document, Page, Word

if TYPE_CHECKING:
    from docrag.read.ocr import OcrReader

KEPT_OPEN = 4
"""Documents that a worker keeps open."""
OCR_PICTURE_SHARES = {10: 0.25, FEW_WORDS: 0.9}
"""A page with fewer words than these is read from its picture if pictures cover this much of it: courts and
scanners print a line of a dozen words over pages that are pictures altogether."""
_GRACE = 30.0
_PR_SET_PDEATHSIG = 1


class FirstReading(NamedTuple):
    """A page as it was read without OCR."""

    page: Page
    needs_ocr: bool
    seconds: float
    """That its picture took to be drawn."""


class Worker:
    """The documents and models that one worker process holds."""

    def __init__(self, options: ReadOptions) -> None:
        self.options = options
        self._sources: OrderedDict[str, Source] = OrderedDict()
        self._ocr: OcrReader | None = None
        # Held open as long as the process lives: faulthandler writes into it.
        self._nowhere = open(os.devnull, "w")  # noqa: SIM115, PTH123

    def source(self, path: Path) -> Source:
        """The open document; the one used longest ago is closed."""
        key = str(path)
        if key not in self._sources:
            self._sources[key] = open_source(path, self.options.passwords)
            if len(self._sources) > KEPT_OPEN:
                self._sources.popitem(last=False)[1].close()
        self._sources.move_to_end(key)
        return self._sources[key]

    def ocr(self) -> OcrReader:
        """The OCR model, loaded when it is first needed."""
        if self._ocr is None:
            from docrag.read.ocr import OcrReader

            self._ocr = OcrReader(self.options.threads)
        return self._ocr

    @contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """End this process if something takes much longer than the parent allows: then the parent is gone.

        The timer runs in C, so it also ends what hangs in C code.
        """
        faulthandler.dump_traceback_later(seconds + _GRACE, exit=True, file=self._nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


_worker: Worker | None = None


def start(options: ReadOptions, parent: int) -> None:
    """Make this process a worker of the process `parent`; the pool's initializer."""
    global _worker
    # Stop at once when told to, also within C code, where no Python handler would run.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _die_with(parent)
    # Loaded now, since it takes a second that would count as the first document's.
    import docrag.read.pdf  # noqa: F401

    _worker = Worker(options)


def open_document(path: Path, document_id: str, sources: tuple[str, ...]) -> Document:
    """Open a document and say what it is.

    Raises:
        DocumentError: It cannot be opened, with the reason.
    """
    worker = _here()
    try:
        with worker.limit(worker.options.page_timeout):
            source = worker.source(path)
            return Document(document_id, sources, source.total_pages, source.title, source.headline)
    except DocumentError:
        raise
    except Exception as error:
        raise UnreadableDocument(f"{path.name} cannot be read: {_reason(error)}") from error


def read_page(path: Path, document: Document, number: int) -> FirstReading:
    """Read and render one page, from 1.

    Raises:
        PageFailed: With the reason.
    """
    worker = _here()
    options = worker.options
    with _page_errors(), worker.limit(options.page_timeout):
        source = worker.source(path)
        layer = source.text_layer(number)
        started = time.perf_counter()
        picture = source.picture(number, options.image_side, options.max_pixels)
        image = encode_jpeg(picture, options.jpeg_quality)
        seconds = time.perf_counter() - started
        needs_ocr = options.ocr and _may_be_scan(layer) and not is_blank(picture)
        page = Page(
            document, number, layer.label, layer.width, layer.height, layer.words, layer.blocks, image
        )
        return FirstReading(page, needs_ocr, seconds)


def _may_be_scan(layer: TextLayer) -> bool:
    """Whether a page says little or nothing beside its pictures."""
    count = len(layer.words)
    few = any(count < words and layer.picture_share >= share for words, share in OCR_PICTURE_SHARES.items())
    return few or not count


def recognise_page(path: Path, number: int) -> tuple[tuple[Word, ...], tuple[Block, ...]]:
    """Words and blocks of one page, from 1, read from its picture.

    Raises:
        PageFailed: With the reason.
    """
    from docrag.read.ocr import OCR_SIDE

    worker = _here()
    with _page_errors(), worker.limit(worker.options.ocr_timeout):
        return worker.ocr().words(worker.source(path).picture(number, OCR_SIDE, worker.options.max_pixels))


@contextmanager
def _page_errors() -> Iterator[None]:
    """Turn whatever goes wrong into one error that can cross to the parent; MuPDF's own cannot be pickled."""
    try:
        yield
    except Exception as error:
        raise PageFailed(_reason(error)) from error


def _reason(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, DocumentError):
        return error.message
    return " ".join(str(error).split()) or type(error).__name__


def _here() -> Worker:
    """The worker of this process."""
    if _worker is None:
        raise RuntimeError("start() must run first; it is the pool's initializer")
    return _worker


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, even while it is stuck in C code.

    Elsewhere than on Linux a worker ends when its pipe is closed, or by `Worker.limit` if it is stuck.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have ended before it was asked for.
        if os.getppid() != parent:
            os._exit(1)
