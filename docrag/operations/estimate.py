"""What an index will take before anything is ingested: disk, memory, the time of a search, and limits.

The formulas start from what a page has. Constants of the engine were measured with qdrant-edge 0.9 on a
server core, constants of pages on filings, papers and slides. `tests/operations/test_estimate.py` builds
an index and compares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from docrag.encode.registry import OPTIONS, find_card, page_encoder, text_encoder
from docrag.errors import DocumentError, SettingsError
from docrag.index.model_selection import DEFAULT_ENCODER, encoder_options
from docrag.read.files import find_files
from docrag.read.opening import open_source
from docrag.search.stages import SIEVE_ROWS, Stages
from docrag.types import BM25, CAPTION, MAX_FLOATS, POOLED, Pooling

if TYPE_CHECKING:
    from docrag.settings import Settings
    from docrag.types import Datatype

FLOAT_BYTES: Mapping[Datatype, float] = {"float32": 4, "float16": 2, "turbo8": 1, "turbo4": 0.5}
TURBO_BYTES = 4
"""Additional bytes of a turbo8 or turbo4 vector."""
POOLED_ROWS: Mapping[Pooling, int] = {"rows": 32, "rows+columns": 64, "tokens": 32}
"""The largest number of pooled vectors with a position on the page (`encode.vectors.pooling`)."""
SPECIAL_TOKENS = 6
"""Vectors without a position on the page. ColPali has 6 special tokens; other models have 2 to 15."""
INKED = 0.57
"""Share of patches that are not blank (`encode.vectors.inked`). On grids of 32 x 32 and 24 x 31 it was
0.56 and 0.59 on printed pages, and 0.57 and 0.59 on scanned ones."""

TEXT_DIM = 384
TERMS, TERM_BYTES = 115, 6
TEXT_BYTES, BOX_BYTES = 5_000, 11
"""Payload: text, metadata and blocks of a page (3 to 4 KB, stored in 5), and at most this much for the box
of each vector: boxes of words compress to half of it, boxes of a grid to almost nothing."""
INDEX_BYTES = 1_000
"""Payload indexes and lists of ids, per page."""
IMAGE_BYTES = 170_000
"""A page as a JPEG of 1280 pixels: 191 KB for filings and papers, 140 KB for the demo documents."""
LOG_SHARE, LOG_MOST = 5.2, 45 * 2**20
"""The write-ahead log keeps the latest writes: bytes per float, and at most this many bytes altogether. It
took 39 to 52 MiB between 150 and 600 pages of 1,030 x 128 floats."""
FIXED_BYTES = 300_000
PROCESS_BYTES = 150 * 2**20
"""Memory of Python and the engine, without models."""

SCAN_NS, RERANK_NS = 0.11, 0.07
"""CPU nanoseconds for the product of two floats of `pooled` and of `patches`. Measured with questions of
20 x 128: 10.5 ms for the pooled vectors of 1,000 pages, 29.6 ms for 2,500 pages, and 17 ms for 100 pages
of 1,030 vectors."""
QUERY_ROWS: Mapping[str, int] = {"image": 20, "words": 10}
"""Vectors of a question, by what the encoder reads."""
COMFORTABLE_MS = 400
"""CPU milliseconds of a search that does not feel slow, when two cores share it."""

JSON_BYTES, GRPC_BYTES = 8.1, 4.1
"""Bytes of a float in a request: 1030 x 128 floats take 1.06 MB as JSON with five decimals and 0.54 MB by
gRPC."""
SERVER_BYTES = 32 * 2**20
"""The largest request that Qdrant accepts by REST."""


@dataclass(frozen=True, slots=True)
class PageShape:
    """What an encoder produces for a page."""

    model: str
    vectors: int
    dim: int
    needs: Literal["image", "words"]
    source: str
    """Where the number of vectors is taken from."""


MINILM = PageShape("minilm", 380, 384, "words", "mean of 1,945 pages of real PDFs")
GRID = PageShape("", 1030, 128, "image", "not known beforehand: the same as ColPali")


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit that a page or an index must stay below."""

    name: str
    value: float
    most: float
    advice: str
    """What to do if it does not."""

    @property
    def ok(self) -> bool:
        """Whether the value is below the limit."""
        return self.value < self.most


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an index will take."""

    pages: int
    shape: PageShape
    datatype: str
    pooling: str
    disk: Mapping[str, int]
    """Bytes on disk, by what they hold."""
    memory: Mapping[str, int]
    """Bytes that a search keeps in memory, without models. `patches` are read from disk when they are
    compared."""
    search_ms: float
    """CPU milliseconds of a search, shared by the cores."""
    pages_per_request: Mapping[str, int]
    """Pages that fit into one request to a server, by protocol."""
    limits: tuple[Limit, ...]


def estimate(
    pages: int,
    shape: PageShape,
    *,
    datatype: Datatype = "float16",
    pooling: Pooling = "rows",
    image_dim: int = 0,
    text_dim: int = TEXT_DIM,
) -> Estimate:
    """What an index of this many pages will take.

    Args:
        pages: The number of pages.
        shape: What the late-interaction encoder produces for each page.
        datatype: How `patches` are stored.
        pooling: How `pooled` is made.
        image_dim: Vector length of the image encoder; 0 if there is none.
        text_dim: Vector length of the encoder for captions.
    """
    all_floats = shape.vectors * shape.dim
    floats = all_floats // math.ceil(all_floats / MAX_FLOATS)  # neighbours are averaged if there are too many
    pooled = min(shape.vectors, POOLED_ROWS[pooling] + SPECIAL_TOKENS) * shape.dim
    row = FLOAT_BYTES[datatype] * shape.dim + (TURBO_BYTES if datatype.startswith("turbo") else 0)
    small = {
        "pooled": 2 * pooled,
        "caption": 4 * text_dim,
        "image": 4 * image_dim,
        "terms": TERMS * TERM_BYTES,
    }
    page_bytes = {
        "patches": floats // shape.dim * row,
        **small,
        "payload": TEXT_BYTES + BOX_BYTES * shape.vectors + INDEX_BYTES,
        "page images": IMAGE_BYTES,
    }
    disk = {name: math.ceil(pages * size) for name, size in page_bytes.items() if size}
    disk["log"] = FIXED_BYTES + int(min(LOG_SHARE * pages * (floats + pooled), LOG_MOST))
    scanned, compared = _compared(pages, QUERY_ROWS[shape.needs])
    search_ms = (SCAN_NS * scanned * pooled + RERANK_NS * compared * floats) / 1e6
    return Estimate(
        pages,
        shape,
        datatype,
        pooling,
        disk,
        {"process": PROCESS_BYTES, **{name: pages * size for name, size in small.items() if size}},
        search_ms,
        _pages_per_request(floats + pooled),
        _limits(shape, floats, pooled, search_ms),
    )


def _compared(pages: int, rows: int) -> tuple[int, int]:
    """Products of a query vector and a page: in the first stages, and in the last one."""
    stages = Stages.for_pages(pages)
    sieved = pages > stages.sieve and rows > 2 * SIEVE_ROWS
    scanned = SIEVE_ROWS * pages + rows * stages.sieve if sieved else rows * pages
    return scanned, rows * min(pages, sum(stages.prefetch[name] for name in (POOLED, BM25, CAPTION)))


def _pages_per_request(floats: int) -> Mapping[str, int]:
    from docrag.store.server.wire import MAX_REQUEST_BYTES

    sizes = {"REST": JSON_BYTES * floats, "gRPC": GRPC_BYTES * floats}
    return {wire: max(1, int(MAX_REQUEST_BYTES / (size + TEXT_BYTES))) for wire, size in sizes.items()}


def _limits(shape: PageShape, floats: int, pooled: int, search_ms: float) -> tuple[Limit, ...]:
    all_floats = shape.vectors * shape.dim
    fewer = f"--max-patches {(MAX_FLOATS - 1) // shape.dim - SPECIAL_TOKENS}, or fewer"
    return (
        Limit("floats a page", all_floats, MAX_FLOATS, f"means of neighbours are stored, or: {fewer}"),
        Limit("bytes a page by REST", int(JSON_BYTES * (floats + pooled)), SERVER_BYTES, "allow gRPC"),
        Limit(
            "ms a search",
            round(search_ms, 1),
            COMFORTABLE_MS,
            "run docrag tune, or keep it on a Qdrant server",
        ),
    )


def estimate_for(settings: Settings, pages: int) -> Estimate:
    """What an index with these settings will take.

    Raises:
        SettingsError: The model is not a late-interaction model.
        UnknownModel: There is no such model.
    """
    image_dim, text_dim = dims_of(settings)
    return estimate(
        pages,
        shape_of(settings),
        datatype=settings.datatype or "float16",
        pooling=settings.pooling or "rows",
        image_dim=image_dim,
        text_dim=text_dim,
    )


def shape_of(settings: Settings) -> PageShape:
    """What the late-interaction encoder of the settings produces for a page, without loading its weights.

    Raises:
        SettingsError: The model is not a late-interaction model.
        UnknownModel: There is no such model.
    """
    shape = _shape(settings)
    if (
        settings.max_patches
        and shape.needs == "image"
        and settings.max_patches + SPECIAL_TOKENS < shape.vectors
    ):
        shape = replace(shape, vectors=settings.max_patches + SPECIAL_TOKENS, source="--max-patches")
    if settings.keep_patches == "inked" and shape.needs == "image":
        vectors = SPECIAL_TOKENS + round(INKED * (shape.vectors - SPECIAL_TOKENS))
        shape = replace(shape, vectors=vectors, source=f"{shape.source}; {INKED:.0%} of the patches inked")
    return shape


def _shape(settings: Settings) -> PageShape:
    name = settings.late or DEFAULT_ENCODER
    if name == DEFAULT_ENCODER:
        return MINILM
    card = find_card(name)
    if card:
        _require_late(name, f"--{card.option}")
        shape = replace(GRID, model=name, dim=card.dim)
        if card.vectors:
            source = "US Letter, at the checkpoint's own resolution"
            shape = replace(shape, vectors=card.vectors, source=source)
        return shape
    spec = page_encoder(name, encoder_options(settings)).spec
    _require_late(name, OPTIONS[spec.kind])
    base = GRID if spec.needs == "image" else MINILM
    return replace(base, model=name, dim=spec.dim, source=GRID.source)


def _require_late(name: str, option: str) -> None:
    """Refuse a model that another option takes."""
    if option != "--late":
        raise SettingsError(f"{name} cannot be used for --late", f"give it as {option} instead")


def dims_of(settings: Settings) -> tuple[int, int]:
    """Vector lengths of the image encoder (0 if there is none) and of the encoder for captions."""

    def dim(name: str, encoder: Callable[[str], Any]) -> int:
        card = find_card(name)
        return card.dim if card else int(encoder(name).spec.dim)

    image = dim(settings.image, page_encoder) if settings.image else 0
    return image, dim(settings.text, text_encoder) if settings.text else TEXT_DIM


def count_pages(paths: Iterable[Path], passwords: tuple[str, ...] = ()) -> tuple[int, list[str]]:
    """Count the pages of files and folders without rendering them.

    Returns:
        The number of pages, and the reason for each file that cannot be read.

    Raises:
        NotFound: A path does not exist.
    """
    pages = 0
    refused: list[str] = []
    for file in find_files(list(paths), lambda _, error: refused.append(str(error))):
        try:
            with closing(open_source(file, passwords)) as source:
                pages += source.total_pages
        except DocumentError as error:
            refused.append(str(error))
    return pages, refused
