"""Opening a file as a PDF or as an image, whichever it is.

Importing this loads PyMuPDF and Pillow, so only code that is about to open a document imports it.
"""

from __future__ import annotations

from pathlib import Path

from docrag.errors import EmptyDocument, NotFound, UnreadableDocument
from docrag.read.image import ImageSource
from docrag.read.pdf import PdfSource
from docrag.read.source import Source

_HEAD_BYTES = 1024
"""The PDF header may stand anywhere in the first 1024 bytes."""


def open_source(path: Path, passwords: tuple[str, ...]) -> Source:
    """Open a PDF or an image. The first bytes of the file decide which it is, not its name.

    Args:
        path: The file.
        passwords: Tried in this order on an encrypted PDF.

    Raises:
        NotFound: The file does not exist.
        UnsupportedFile: The file is neither a PDF nor an image.
        UnreadableDocument: The file is broken or cannot be read.
        EmptyDocument: The document has no pages.
        PasswordRequired: The document is encrypted, and none of the passwords opens it.
    """
    head = _first_bytes(path)
    if not head:
        raise EmptyDocument(f"{path.name} is empty (0 bytes)", "copy or download it again")
    if b"%PDF-" in head:
        return PdfSource(path, passwords)
    if path.suffix.lower() == ".pdf":
        raise UnreadableDocument(
            f"{path.name} is not a PDF, despite its name", "check what the file contains"
        )
    return ImageSource(path)


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        raise NotFound(
            f"{path} does not exist", "it may have been moved while other files were being read"
        ) from error
    except OSError as error:
        raise UnreadableDocument(f"{path.name} cannot be read: {error.strerror}") from error
