"""Reading documents: files are found, opened, read page by page, rendered, and recognised if without text.

`find_files` and `sha256` say what there is, `ReaderPool` reads it.
Importing this loads neither PyMuPDF nor OCR.
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

# Before PyMuPDF or RapidOCR load it: else onnxruntime tells its maker which models run on this machine.
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
