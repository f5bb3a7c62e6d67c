"""The types that the stages hand to each other; numpy only.

Boxes are always (x0, y0, x1, y1) in page units: 0..1 from the top left corner of the page as it is displayed.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[float, float, float, float]
Mode = Literal["hybrid", "late", "cosine", "text"]
MODES: tuple[Mode, ...] = get_args(Mode)
Datatype = Literal["float32", "float16", "turbo8", "turbo4"]
"""How the numbers of a multi-vector are stored. A page of 1030 x 128 takes 264 KB as float16, half of that as
turbo8 and a quarter as turbo4."""
Pooling = Literal["rows", "rows+columns", "tokens"]
"""How the patches of a page are pooled for the first stage of a search."""
KeepPatches = Literal["all", "inked"]
"""Which patches of a page are stored: all of them, or only those that are not blank paper."""
CaptionSource = Literal["none", "text", "vision"]
"""Where captions come from: nowhere, the text layer, or a vision model as well."""

MAX_FLOATS = 2**20
"""Floats of the vectors of one page must stay below this (Qdrant's MAX_MULTIVECTOR_FLATTENED_LEN)."""

PATCHES = "patches"
POOLED = "pooled"
IMAGE = "image"
CAPTION = "caption"
BM25 = "bm25"

_PAGE_NAMESPACE = uuid.UUID("6f3c1c0e-53a8-5d0b-9d0c-6c2f1c3a5e11")


def page_id(document_id: str, number: int) -> str:
    """The id of a page: the same file content and page number always give the same one.

    Args:
        document_id: sha256 of the file, hexadecimal.
        number: Page number, from 1.

    >>> page_id("ab" * 32, 1) == page_id("ab" * 32, 1)
    True
    """
    return str(uuid.uuid5(_PAGE_NAMESPACE, f"{document_id}#{number}"))


def is_page_id(text: str) -> bool:
    """Whether a text can be the id of a page.

    >>> is_page_id(page_id("ab" * 32, 1)), is_page_id("../../etc/passwd")
    (True, False)
    """
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text) is not None


class Word(NamedTuple):
    """One word of a page; a named tuple because a page has hundreds and they cross processes."""

    text: str
    box: Box
    block: int
    """Position of the word's block in `Page.blocks`."""


class Block(NamedTuple):
    """A paragraph, table or heading of a page."""

    text: str
    box: Box
    size: float = 0.0
    """Height of its largest letters as a share of the page height; 0 where unknown."""


@dataclass(frozen=True, slots=True)
class PageImage:
    """A rendered page, as JPEG."""

    jpeg: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Document:
    """One content; `sources` are the paths at which it was found."""

    id: str
    """sha256 of the file, hexadecimal."""
    sources: tuple[str, ...]
    """Paths as ingested, the first one first."""
    total_pages: int
    title: str = ""
    """What it is called; as read, the title in the file's own metadata, which is often empty or useless."""
    headline: str = ""
    """The lines in the largest letters of its first page."""

    @property
    def name(self) -> str:
        """File name of the first source."""
        return Path(self.sources[0]).name


@dataclass(frozen=True, slots=True)
class Page:
    """One page as it was read."""

    document: Document
    number: int
    """From 1."""
    label: str
    """What is printed on the page ("iv", "A-3"), as the file says; else the number."""
    width: float
    """In points (1/72 inch), as displayed."""
    height: float
    words: tuple[Word, ...]
    blocks: tuple[Block, ...]
    image: PageImage | None = None
    ocr: bool = False
    """Whether the words were read from the image."""

    @property
    def id(self) -> str:
        """A valid Qdrant point id; equal content gives an equal id."""
        return page_id(self.document.id, self.number)

    @property
    def text(self) -> str:
        """The page's text, blocks separated by line breaks."""
        return "\n".join(block.text for block in self.blocks)


@dataclass(frozen=True, slots=True)
class MultiVector:
    """What an encoder gives for one page or query; single-vector models give one row."""

    vectors: NDArray[np.float32]
    """(n, dim), rows L2-normalised, no padding, no NaN; a query's rows may differ in length to weigh them."""
    boxes: NDArray[np.float32] | None = None
    """(n, 4) in page units, NaN rows for vectors that stand nowhere; None for queries."""
    summary: NDArray[np.float32] | None = None
    """(dim,) page or query as one vector, L2-normalised, where the model gives it in the same pass."""
    words: tuple[str, ...] | None = None
    """Of a query, the word of its text that each row stands for, "" for none; None where nobody can tell."""


@dataclass(frozen=True, slots=True)
class SparseVector:
    """Term weights of a text; the inverse document frequency is left to Qdrant."""

    indices: tuple[int, ...]
    values: tuple[float, ...]


Vector = NDArray[np.float32] | SparseVector
"""(n, dim) multi-vector, (dim,) dense vector, or sparse vector."""


@dataclass(frozen=True, slots=True)
class PageRecord:
    """One Qdrant point: what is written for a page, and what is read back."""

    id: str
    vectors: Mapping[str, Vector]
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ScoredId:
    """A page as one signal ranked it."""

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a page that the query matched."""

    box: Box
    score: float
    """Mean over the query's vectors of their best similarity within the region, -1..1."""
    text: str

    def as_json(self) -> dict[str, Any]:
        """The same as what JSON can hold."""
        return {"box": list(self.box), "score": self.score, "text": self.text}


@dataclass(frozen=True, slots=True)
class IndexedDocument:
    """A document as an index holds it."""

    id: str
    """sha256 of the file, hexadecimal."""
    files: tuple[str, ...]
    """The paths, as ingested, at which it was found; the first one is its name."""
    title: str
    pages: int
    """Pages that are indexed."""
    total_pages: int
    """Pages that it has."""

    @property
    def file(self) -> str:
        """The path as it was ingested."""
        return self.files[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedPage:
    """A page as an index holds it."""

    file: str
    """The path as it was ingested."""
    page: int
    """From 1."""
    page_id: str
    text: str
    """The page's caption and text."""
    blocks: tuple[Block, ...] = ()
    """In reading order."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    image_path: Path | None = None
    image_url: str = ""
    """Where the picture is served, while `docrag serve` runs at the index's image_base_url."""

    @property
    def document_id(self) -> str:
        """sha256 of the file, hexadecimal."""
        return str(self.metadata["document_id"])

    def image(self) -> Image:
        """The rendered page.

        Raises:
            DocumentError: The image is no longer beside the index.
        """
        from PIL import Image as pillow

        from docrag.errors import DocumentError

        if self.image_path is None or not self.image_path.is_file():
            raise DocumentError(f"no image of {self.file}, page {self.page}", "ingest the file again")
        with pillow.open(self.image_path) as image:
            image.load()
            return image


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit(IndexedPage):
    """A page that answers a query."""

    rank: int
    """From 1."""
    score: float
    scores: Mapping[str, float]
    """Score of each signal (late, cosine, text) that ranked the page."""
    regions: tuple[Region, ...] = ()
    """Best first."""
