"""Reading documents: their files are found, and their pages are read, rendered and, if scanned, recognised.

`find_files` finds the files, `sha256` identifies their content, and `ReaderPool` reads them in worker
processes. Importing this package loads neither PyMuPDF nor OCR.
"""

import os

from docrag.read.files import find_files, sha256
from docrag.read.jobs import (
    Closed,
    DocumentRefused,
    Event,
    Opened,
    PageLost,
    PageRead,
    ReadJob,
    ReadOptions,
    TextLost,
)
from docrag.read.pool import ReaderPool

# Set before PyMuPDF or RapidOCR load onnxruntime, which would otherwise send usage data to its maker.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "Closed",
    "DocumentRefused",
    "Event",
    "Opened",
    "PageLost",
    "PageRead",
    "ReadJob",
    "ReadOptions",
    "ReaderPool",
    "TextLost",
    "find_files",
    "sha256",
]
