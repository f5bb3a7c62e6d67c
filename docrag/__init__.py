"""docrag finds the page that answers a question, in folders of PDFs.

The public names are loaded when they are first used: `import docrag` loads neither torch nor PyMuPDF.

>>> import docrag
>>> docrag.Index.__name__
'Index'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from docrag.common import moved_modules

if TYPE_CHECKING:
    from docrag.encode.base import EncoderOptions, ModelSpec, PageEncoder, TextEncoder
    from docrag.encode.registry import page_encoder, text_encoder
    from docrag.errors import DocragError
    from docrag.index.index import Index
    from docrag.index.status import Status
    from docrag.ingest.report import FileReport, IngestReport, Progress, WaitingForWriter
    from docrag.operations.label import label_files
    from docrag.settings import Settings
    from docrag.types import Hit, IndexedDocument, IndexedPage, Mode, MultiVector, Page, Region

__version__ = "0.1.0"
"""The version of the package, which pyproject.toml reads from here: metadata takes longer to look up."""

_HOMES = {
    "DocragError": "docrag.errors",
    "FileReport": "docrag.ingest.report",
    "Hit": "docrag.types",
    "EncoderOptions": "docrag.encode.base",
    "Index": "docrag.index.index",
    "IndexedDocument": "docrag.types",
    "IndexedPage": "docrag.types",
    "IngestReport": "docrag.ingest.report",
    "Mode": "docrag.types",
    "ModelSpec": "docrag.encode.base",
    "MultiVector": "docrag.types",
    "Page": "docrag.types",
    "PageEncoder": "docrag.encode.base",
    "Progress": "docrag.ingest.report",
    "Region": "docrag.types",
    "Settings": "docrag.settings",
    "Status": "docrag.index.status",
    "TextEncoder": "docrag.encode.base",
    "WaitingForWriter": "docrag.ingest.report",
    "label_files": "docrag.operations.label",
    "page_encoder": "docrag.encode.registry",
    "text_encoder": "docrag.encode.registry",
}

__all__ = [
    "DocragError",
    "EncoderOptions",
    "FileReport",
    "Hit",
    "Index",
    "IndexedDocument",
    "IndexedPage",
    "IngestReport",
    "Mode",
    "ModelSpec",
    "MultiVector",
    "Page",
    "PageEncoder",
    "Progress",
    "Region",
    "Settings",
    "Status",
    "TextEncoder",
    "WaitingForWriter",
    "label_files",
    "page_encoder",
    "text_encoder",
]

moved_modules.install()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'docrag' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
