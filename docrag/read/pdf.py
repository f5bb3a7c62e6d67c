"""PDF documents, read with PyMuPDF."""

from __future__ import annotations

import re
import stringprep
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymupdf

from docrag.errors import EmptyDocument, PasswordRequired, UnreadableDocument
from docrag.read.blocks import PlacedWord, lay_out
from docrag.read.source import FEW_WORDS, TextLayer, size_in_pixels
from docrag.types import Box

if TYPE_CHECKING:
    from PIL.Image import Image

HEADLINE_ENOUGH = 60
"""A headline of this many characters needs no lines in smaller letters."""
HEADLINE_LIMIT = 200
"""Characters of the longest headline."""
_FEWEST_LETTERS = 3
"""A line with fewer letters is not part of a headline."""
# Ligatures are split, and letters without a Unicode value are dropped: OCR reads such pages better than this.
_TEXT_FLAGS = pymupdf.TEXT_PRESERVE_WHITESPACE | pymupdf.TEXT_MEDIABOX_CLIP
_FILE_NAME = re.compile(
    r".*\.(pdf|docx?|xlsx?|pptx?|odt|rtf|txt|html?|tex|dvi|e?ps|indd|qx[dp]|fm|pub|wpd)$", re.I
)
_MADE_BY = re.compile(r"^(microsoft (word|powerpoint|excel)|powerpoint presentation)\b\s*(-\s*)?", re.I)


class PdfSource:
    """An open PDF.

    Raises:
        UnreadableDocument: The file is broken.
        EmptyDocument: The document has no pages.
        PasswordRequired: The document is encrypted, and none of the passwords opens it.
    """

    def __init__(self, path: Path, passwords: tuple[str, ...] = ()) -> None:
        # MuPDF prints warnings to the console; what matters is raised as an error anyway.
        pymupdf.TOOLS.mupdf_display_errors(False)
        pymupdf.TOOLS.mupdf_display_warnings(False)
        try:
            self._file = pymupdf.open(path, filetype="pdf")
            # An encrypted file keeps reporting 0 pages if the count is read before it is unlocked.
            if self._file.needs_pass:
                _unlock(self._file, path.name, passwords)
            self.total_pages: int = self._file.page_count
        except RuntimeError as error:
            raise UnreadableDocument(
                f"{path.name} is broken: {str(error).rstrip('.')}", "try to print it to a new PDF"
            ) from error
        if self.total_pages == 0:
            raise EmptyDocument(
                f"{path.name} has no pages", "if a viewer shows pages, print them to a new PDF"
            )
        self.title = clean_title((self._file.metadata or {}).get("title") or "")
        self.headline = self._headline()
        self._has_labels = bool(self._file.get_page_labels())

    def text_layer(self, number: int) -> TextLayer:
        """Return the words, blocks and size of a page, counted from 1."""
        page = self._file[number - 1]
        width, height = page.rect.width, page.rect.height
        placed = list(_placed_words(page))
        words, blocks = lay_out(placed, width, height)
        share = _picture_share(page) if len(words) < FEW_WORDS else 0.0
        label = page.get_label() if self._has_labels else ""
        return TextLayer(label or str(number), width, height, words, blocks, share)

    def picture(self, number: int, side: int, max_pixels: int) -> Image:
        """Render a page with its annotations and form fields, in RGB; see `Source.picture`."""
        from PIL import Image as pillow

        page = self._file[number - 1]
        width, height = page.rect.width, page.rect.height
        pixels = size_in_pixels(width, height, side, max_pixels)
        scale = pymupdf.Matrix(pixels[0] / width, pixels[1] / height)
        pixmap = page.get_pixmap(matrix=scale, alpha=False)
        return pillow.frombuffer("RGB", (pixmap.width, pixmap.height), pixmap.samples, "raw", "RGB", 0, 1)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _headline(self) -> str:
        """The headline of the first page; empty if that page is broken, since the others may be readable."""
        try:
            lines = list(_sized_lines(self._file[0]))
        except (RuntimeError, ValueError):
            return ""
        return headline(lines)


def headline(lines: Sequence[tuple[float, str]]) -> str:
    """The lines of a page in the largest letters, in reading order.

    Lines in the next smaller sizes are added until the headline has `HEADLINE_ENOUGH` characters.

    Args:
        lines: Letter size in points and text of each line of the page.

    >>> lines = [(9, "Form 10-K"), (24, "Annual Report"), (12, "of the Harbour Ferries Cooperative for 2023")]
    >>> headline([*lines, (10, "in millions"), (8, "page 1")])
    'Annual Report of the Harbour Ferries Cooperative for 2023 in millions'
    """
    candidates = [
        (round(size, 1), text) for size, text in lines if sum(map(str.isalpha, text)) >= _FEWEST_LETTERS
    ]
    text = ""
    for smallest in sorted({size for size, _ in candidates}, reverse=True):
        text = " ".join(line for size, line in candidates if size >= smallest)
        if len(text) >= HEADLINE_ENOUGH:
            break
    return text if len(text) <= HEADLINE_LIMIT else text[:HEADLINE_LIMIT].rsplit(" ", 1)[0]


def clean_title(title: str) -> str:
    """The title from a file's metadata without what programs write there; empty if nothing is left.

    >>> clean_title("Microsoft Word - Annual  report.doc")
    ''
    >>> clean_title(" Annual  report ")
    'Annual report'
    """
    title = _MADE_BY.sub("", " ".join(printable(title).split())).strip()
    return "" if title.lower() in {"untitled", "none", "title"} or _FILE_NAME.match(title) else title


def printable(text: str) -> str:
    """The text without control characters, soft hyphens, lone surrogates and private-use characters."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else " " if letter.isspace() else "" for letter in text)


def saslprep(password: str) -> str:
    """A password in the form that PDF 2.0 requires (SASLprep, RFC 4013).

    Unusual spaces become plain ones, soft hyphens and other invisible characters are dropped, and
    compatibility characters are replaced (NFKC).
    """
    mapped = (
        " " if stringprep.in_table_c12(letter) else letter
        for letter in password
        if not stringprep.in_table_b1(letter)
    )
    return unicodedata.normalize("NFKC", "".join(mapped))


def _unlock(file: Any, name: str, passwords: tuple[str, ...]) -> None:
    """Unlock a file with the first password that opens it, as typed or as SASLprep makes it."""
    for password in passwords:
        if file.authenticate(password) or file.authenticate(saslprep(password)):
            return
    reason = "none of the passwords given opens it" if passwords else "no password was given"
    raise PasswordRequired(f"{name} is encrypted, and {reason}", "give its password with --password")


def _placed_words(page: Any) -> Iterator[PlacedWord]:
    """The words of a page in the order of the file; boxes in points, as displayed."""
    textpage = page.get_textpage(flags=_TEXT_FLAGS)
    # MuPDF gives the positions of text before the page is rotated.
    a, b, c, d, e, f = page.rotation_matrix
    limits = page.rect.width, page.rect.height
    for x0, y0, x1, y1, text, block, line, _ in textpage.extractWORDS():
        box = _visible(
            (a * x0 + c * y0 + e, b * x0 + d * y0 + f, a * x1 + c * y1 + e, b * x1 + d * y1 + f), limits
        )
        word = printable(text).strip()
        if box is not None and word.strip("\ufffd"):
            yield PlacedWord(word, box, block, line)


def _sized_lines(page: Any) -> Iterator[tuple[float, str]]:
    """Letter size in points and text of each line of a page."""
    for block in page.get_text("dict", flags=_TEXT_FLAGS)["blocks"]:
        for line in block.get("lines", ()):
            text = " ".join(printable(span["text"]) for span in line["spans"])
            yield max(span["size"] for span in line["spans"]), " ".join(text.split())


def _visible(corners: Box, limits: tuple[float, float]) -> Box | None:
    """The part of a box that lies on the page, or None if no part does; corners may come in any order."""
    x0, x1 = (min(max(x, 0.0), limits[0]) for x in sorted((corners[0], corners[2])))
    y0, y1 = (min(max(y, 0.0), limits[1]) for y in sorted((corners[1], corners[3])))
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def _picture_share(page: Any) -> float:
    """Share of a page that its pictures cover, 0..1; where they overlap, the area counts more than once."""
    area = float(abs(page.rect))
    covered = sum(float(abs(pymupdf.Rect(image["bbox"]) & page.rect)) for image in page.get_image_info())
    return min(covered / area, 1.0)
