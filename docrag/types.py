"""The types that the stages pass to each other.

numpy is imported for their annotations only: a program that prints hits does without it.

Boxes are always (x0, y0, x1, y1) in page units: 0..1 from the top left corner of the page as it is displayed.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

from docrag.errors import DocumentError, StoreError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

logger = logging.getLogger(__name__)

Box = tuple[float, float, float, float]
Mode = Literal["hybrid", "late", "cosine", "text"]
MODES: tuple[Mode, ...] = get_args(Mode)
Datatype = Literal["float32", "float16", "turbo8", "turbo4"]
"""How the numbers of a multi-vector are stored. A page of 1030 x 128 takes 264 KB as float16, half of that as
turbo8 and a quarter as turbo4."""
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
"""The precision of models; auto takes what the hardware supports natively."""
Pooling = Literal["rows", "rows+columns", "tokens"]
"""How the patches of a page are pooled for the first stage of a search."""
KeepPatches = Literal["all", "inked"]
"""Which patches of a page are stored: all of them, or only those that are not blank paper."""
CaptionSource = Literal["none", "text", "vision"]
"""What captions are made from: title and page number only, the text layer, or the text layer and a vision
model."""

MAX_FLOATS = 2**20
"""The multi-vector of a page must have fewer floats than this (Qdrant's MAX_MULTIVECTOR_FLATTENED_LEN)."""

PATCHES = "patches"
POOLED = "pooled"
IMAGE = "image"
CAPTION = "caption"
BM25 = "bm25"

_PAGE_NAMESPACE = uuid.UUID("6f3c1c0e-53a8-5d0b-9d0c-6c2f1c3a5e11")


def page_id(document_id: str, number: int) -> str:
    """Return the id of a page; equal file content and page number always give the same id.

    Args:
        document_id: sha256 of the file, hexadecimal.
        number: Page number, from 1.

    >>> page_id("ab" * 32, 1) == page_id("ab" * 32, 1)
    True
    """
    return str(uuid.uuid5(_PAGE_NAMESPACE, f"{document_id}#{number}"))


def is_page_id(text: str) -> bool:
    """Whether a text has the form of a page id.

    >>> is_page_id(page_id("ab" * 32, 1)), is_page_id("../../etc/passwd")
    (True, False)
    """
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text) is not None


class Word(NamedTuple):
    """One word of a page; a named tuple, because processes send hundreds of them to each other per page."""

    text: str
    box: Box
    block: int
    """Position of the word's block in `Page.blocks`."""


class Block(NamedTuple):
    """A paragraph, table or heading of a page."""

    text: str
    box: Box
    size: float = 0.0
    """Height of its largest letters as a share of the page height; 0 if unknown."""


@dataclass(frozen=True, slots=True)
class PageImage:
    """A rendered page, as JPEG."""

    jpeg: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Document:
    """The content of a file, which may have been found at several paths."""

    id: str
    """sha256 of the file, hexadecimal."""
    sources: tuple[str, ...]
    """The paths at which it was found, as they were ingested; the first one names it."""
    total_pages: int
    title: str = ""
    """The title; as the reader returns it, that of the file's metadata, which is often empty or useless."""
    headline: str = ""
    """The lines in the largest letters of the first page."""

    @property
    def name(self) -> str:
        """Return the file name of the first source."""
        return Path(self.sources[0]).name


@dataclass(frozen=True, slots=True)
class Page:
    """One page as the reader returns it."""

    document: Document
    number: int
    """From 1."""
    label: str
    """The page label that the file defines, such as "iv" or "A-3"; the number if it defines none."""
    width: float
    """In points (1/72 inch), as displayed."""
    height: float
    words: tuple[Word, ...]
    blocks: tuple[Block, ...]
    image: PageImage | None = None
    ocr: bool = False
    """Whether the words were read from the image by OCR."""

    @property
    def id(self) -> str:
        """Return the page's id, which is a valid Qdrant point id; equal content gives an equal id."""
        return page_id(self.document.id, self.number)

    @property
    def text(self) -> str:
        """Return the text of the page, with line breaks between blocks."""
        return "\n".join(block.text for block in self.blocks)


@dataclass(frozen=True, slots=True)
class MultiVector:
    """The vectors of one page or query; single-vector models give one row."""

    vectors: NDArray[np.float32]
    """(n, dim) without padding or NaN; rows have length 1, unless a query uses the length as a weight."""
    boxes: NDArray[np.float32] | None = None
    """(n, 4) in page units, NaN for vectors that belong to no place on the page; None for queries."""
    summary: NDArray[np.float32] | None = None
    """(dim,) the page or query as one L2-normalised vector, if the model computes it in the same pass."""
    words: tuple[str, ...] | None = None
    """For a query, the word of its text that each row stands for, or ""; None if the model cannot say."""


@dataclass(frozen=True, slots=True)
class SparseVector:
    """Term weights of a text, without the inverse document frequency, which Qdrant multiplies in."""

    indices: tuple[int, ...]
    values: tuple[float, ...]


Vector: TypeAlias = "NDArray[np.float32] | SparseVector"
"""A multi-vector (n, dim), a dense vector (dim,), or a sparse vector."""


@dataclass(frozen=True, slots=True)
class PageRecord:
    """One Qdrant point: what is written for a page and read back."""

    id: str
    vectors: Mapping[str, Vector]
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ScoredId:
    """A page and its score in the ranking of one signal."""

    id: str
    score: float
    record: PageRecord | None = field(default=None, compare=False, repr=False)
    """What the query was asked to read of the page; None if that is nothing."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a page that a query matched."""

    box: Box
    score: float
    """The mean, over the query's vectors, of their best similarity within the region; -1..1."""
    text: str

    def as_json(self) -> dict[str, Any]:
        """Return the region as plain JSON types."""
        return {"box": list(self.box), "score": self.score, "text": self.text}


@dataclass(frozen=True, slots=True)
class IndexedDocument:
    """A document in an index."""

    id: str
    """sha256 of the file, hexadecimal."""
    files: tuple[str, ...]
    """The paths at which it was found, as they were ingested; the first one names it."""
    title: str
    pages: int
    """Number of pages in the index."""
    total_pages: int
    """Number of pages in the file."""

    @property
    def file(self) -> str:
        """Return the first path at which the document was found."""
        return self.files[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedPage:
    """A page in an index."""

    file: str
    """The path of the document as it was ingested."""
    page: int
    """From 1."""
    page_id: str
    text: str
    """The caption and text of the page."""
    blocks: tuple[Block, ...] = ()
    """In reading order."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    image_path: Path | None = None
    image_url: str = ""
    """Address at which `docrag serve` serves the page image, below the index's image_base_url."""
    render: Callable[[], None] | None = field(default=None, repr=False, compare=False)
    """Makes the file at `image_path`, where it is missing and the document is on this machine."""

    @property
    def document_id(self) -> str:
        """Return the sha256 of the file, hexadecimal."""
        return str(self.metadata["document_id"])

    def image_file(self) -> Path:
        """Return the file of the page image, a JPEG.

        It is made now if the document was ingested on another machine into the same collection, and this one
        has its file as well.

        Raises:
            DocumentError: The image no longer exists, and the document is not on this machine.
        """
        if self.image_path is not None:
            if not self.image_path.is_file() and self.render is not None:
                self.render()
            if self.image_path.is_file():
                return self.image_path
        raise DocumentError(
            f"there is no image of {self.file}, page {self.page}, on this machine",
            "ingest the file again here, with --again if it did not change; or use the machine that has it",
        )

    def image_file_or_none(self) -> Path | None:
        """Return the file of the page image, made now as by `image_file`; None if it cannot be had."""
        try:
            return self.image_file()
        except (DocumentError, StoreError) as error:
            logger.info("page %s is used without its image: %s", self.page_id, error.message)
            return None

    def image(self) -> Image:
        """Load the rendered page.

        Raises:
            DocumentError: There is no image, as for `image_file`.
        """
        from PIL import Image as pillow

        with pillow.open(self.image_file()) as image:
            image.load()
            return image


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit(IndexedPage):
    """A page that answers a query."""

    rank: int
    """From 1."""
    score: float
    scores: Mapping[str, float]
    """The score from each signal (late, cosine, text) that ranked the page."""
    regions: tuple[Region, ...] = ()
    """The parts of the page that match the query, best first."""
