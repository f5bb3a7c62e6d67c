"""What an index will take, before anything is ingested: space, memory, the time of a search, and limits.

Formulas over what a page has. Constants of the engine were measured with qdrant-edge 0.9 on a server's core,
those of pages on filings, papers and slides; `tests/test_estimate.py` builds an index and compares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from docrag.errors import DocumentError, SettingsError
from docrag.types import MAX_FLOATS, Pooling

if TYPE_CHECKING:
    from docrag.settings import Settings
    from docrag.types import Datatype

FLOAT_BYTES: Mapping[Datatype, float] = {"float32": 4, "float16": 2, "turbo8": 1, "turbo4": 0.5}
TURBO_BYTES = 4
"""That a vector of turbo8 or turbo4 has besides."""
POOLED_ROWS: Mapping[Pooling, int] = {"rows": 32, "rows+columns": 64, "tokens": 32}
"""Vectors of `pooled` that stand somewhere, at most (`encode.pooling`)."""
NOWHERE = 6
"""Vectors that stand nowhere: ColPali's special tokens. Other models have 2 to 15."""
INKED = 0.57
"""Share of patches that are not blank (`encode.inked`): of grids of 32 x 32 and 24 x 31 0.56 and 0.59 on
printed pages, 0.57 and 0.59 of scanned ones."""

TEXT_DIM = 384
TERMS, TERM_BYTES = 115, 6
TEXT_BYTES, BOX_BYTES = 5_000, 11
"""Payload: text, metadata and blocks of a page (3 to 4 KB, stored in 5); a box for each vector, at most:
those of words compress to half of it, those of a grid to almost nothing."""
INDEX_BYTES = 1_000
"""Payload indexes and lists of ids, a page."""
IMAGE_BYTES = 170_000
"""A page as JPEG of 1280 pixels: 191 KB on filings and papers, 140 on the demo's."""
LOG_SHARE, LOG_MOST = 5.2, 45 * 2**20
"""The write-ahead log keeps what was written last: so many bytes for a float, at most so many in all: 39 to
52 MiB between 150 and 600 pages of 1,030 x 128."""
FIXED_BYTES = 300_000
PROCESS_BYTES = 150 * 2**20
"""Of Python and the engine, without models."""

SCAN_NS, RERANK_NS = 0.11, 0.07
"""CPU for a product of two floats, of `pooled` and of `patches`. Measured with questions of 20 x 128: 10.5 ms
for the pooled vectors of 1,000 pages and 29.6 for those of 2,500; 17 for 100 pages of 1,030 vectors."""
QUERY_ROWS: Mapping[str, int] = {"image": 20, "words": 10}
"""Vectors of a question, by what the encoder needs."""
COMFORTABLE_MS = 400
"""CPU for a search that a person does not wait for, where two cores share it."""

JSON_BYTES, GRPC_BYTES = 8.1, 4.1
"""Of a float in a request: 1.06 MB as JSON of five decimals and 0.54 by gRPC for 1030 x 128."""
SERVER_BYTES = 32 * 2**20
"""That Qdrant takes in one request by REST."""


@dataclass(frozen=True, slots=True)
class PageShape:
    """What an encoder makes of a page."""

    model: str
    vectors: int
    dim: int
    needs: Literal["image", "words"]
    source: str
    """Where the number of vectors comes from."""


MINILM = PageShape("minilm", 380, 384, "words", "mean of 1,945 pages of real PDFs")
GRID = PageShape("", 1030, 128, "image", "not known beforehand: taken as ColPali's")


@dataclass(frozen=True, slots=True)
class Limit:
    """Something that a page or an index must stay under."""

    name: str
    value: float
    most: float
    advice: str
    """What to do where it does not."""

    @property
    def ok(self) -> bool:
        """Whether it stays under."""
        return self.value < self.most


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an index will take."""

    pages: int
    shape: PageShape
    datatype: str
    pooling: str
    disk: Mapping[str, int]
    """Bytes, by what takes them."""
    memory: Mapping[str, int]
    """Bytes that a search keeps in memory, without models; `patches` are read when they are compared."""
    search_ms: float
    """CPU for a search; cores share it."""
    pages_per_request: Mapping[str, int]
    """Pages that a server is sent at once, by wire."""
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
    """What an index of so many pages will take.

    Args:
        pages: How many.
        shape: What the late-interaction encoder makes of each.
        datatype: Of `patches`.
        pooling: How `pooled` is made: a name in POOLED_ROWS.
        image_dim: Of the image encoder; 0 for none.
        text_dim: Of the encoder of captions.
    """
    given = shape.vectors * shape.dim
    floats = given // -(-given // MAX_FLOATS)  # neighbours are joined where there are too many
    pooled = min(shape.vectors, POOLED_ROWS[pooling] + NOWHERE) * shape.dim
    row = FLOAT_BYTES[datatype] * shape.dim + (TURBO_BYTES if datatype.startswith("turbo") else 0)
    small = {
        "pooled": 2 * pooled,
        "caption": 4 * text_dim,
        "image": 4 * image_dim,
        "terms": TERMS * TERM_BYTES,
    }
    a_page = {
        "patches": floats // shape.dim * row,
        **small,
        "payload": TEXT_BYTES + BOX_BYTES * shape.vectors + INDEX_BYTES,
        "page images": IMAGE_BYTES,
    }
    disk = {name: math.ceil(pages * size) for name, size in a_page.items() if size}
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
    """Vectors of a question times the pages that they meet: in the first stages, and in the last."""
    from docrag.search.stages import SIEVE_ROWS, Stages
    from docrag.types import BM25, CAPTION, POOLED

    stages = Stages.for_pages(pages)
    sieved = pages > stages.sieve and rows > 2 * SIEVE_ROWS
    scanned = SIEVE_ROWS * pages + rows * stages.sieve if sieved else rows * pages
    return scanned, rows * min(pages, sum(stages.prefetch[name] for name in (POOLED, BM25, CAPTION)))


def _pages_per_request(floats: int) -> Mapping[str, int]:
    from docrag.store.server.wire import MOST_BYTES

    sizes = {"REST": JSON_BYTES * floats, "gRPC": GRPC_BYTES * floats}
    return {wire: max(1, int(MOST_BYTES / (size + TEXT_BYTES))) for wire, size in sizes.items()}


def _limits(shape: PageShape, floats: int, pooled: int, search_ms: float) -> tuple[Limit, ...]:
    given = shape.vectors * shape.dim
    fewer = f"--max-patches {(MAX_FLOATS - 1) // shape.dim - NOWHERE}, or fewer"
    return (
        Limit("floats a page", given, MAX_FLOATS, f"means of neighbours are stored, or: {fewer}"),
        Limit("bytes a page by REST", int(JSON_BYTES * (floats + pooled)), SERVER_BYTES, "let gRPC through"),
        Limit(
            "ms a search",
            round(search_ms, 1),
            COMFORTABLE_MS,
            "run docrag tune, or keep it on a Qdrant server",
        ),
    )


def estimate_for(settings: Settings, pages: int) -> Estimate:
    """What an index with some settings will take; errors as for `shape_of`."""
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
    """What the late-interaction encoder of some settings makes of a page; its weights are not loaded.

    Raises:
        SettingsError: The model is not a late-interaction one.
        UnknownModel: There is no such model.
    """
    shape = _shape(settings)
    if settings.max_patches and shape.needs == "image" and settings.max_patches + NOWHERE < shape.vectors:
        shape = replace(shape, vectors=settings.max_patches + NOWHERE, source="--max-patches")
    if settings.keep_patches == "inked" and shape.needs == "image":
        kept = NOWHERE + round(INKED * (shape.vectors - NOWHERE))
        shape = replace(shape, vectors=kept, source=f"{shape.source}; {INKED:.0%} of the patches inked")
    return shape


def _shape(settings: Settings) -> PageShape:
    from docrag.encode.registry import OPTIONS, find_card, page_encoder
    from docrag.index.model_selection import DEFAULT_ENCODER, encoder_options

    name = settings.late or DEFAULT_ENCODER
    if name == DEFAULT_ENCODER:
        return MINILM
    listed = find_card(name)
    if listed:
        known = replace(GRID, vectors=listed.vectors, source="US Letter, at the checkpoint's own resolution")
        option, shape = (
            f"--{listed.option}",
            replace(known if listed.vectors else GRID, model=name, dim=listed.dim),
        )
    else:
        spec = page_encoder(name, encoder_options(settings)).spec
        base = GRID if spec.needs == "image" else MINILM
        option, shape = OPTIONS[spec.kind], replace(base, model=name, dim=spec.dim, source=GRID.source)
    if option != "--late":
        raise SettingsError(f"{name} is no model for --late", f"give it as {option}")
    return shape


def dims_of(settings: Settings) -> tuple[int, int]:
    """Length of the vectors of the image encoder, 0 for none, and of the encoder of captions."""
    from docrag.encode.registry import find_card, page_encoder, text_encoder

    def dim(name: str, encoder: Callable[[str], Any]) -> int:
        card = find_card(name)
        return card.dim if card else int(encoder(name).spec.dim)

    image = dim(settings.image, page_encoder) if settings.image else 0
    return image, dim(settings.text, text_encoder) if settings.text else TEXT_DIM


def count_pages(paths: Iterable[Path], passwords: tuple[str, ...] = ()) -> tuple[int, list[str]]:
    """How many pages some files and folders have, without rendering any.

    Returns:
        The pages, and for each file that cannot be read the reason.

    Raises:
        NotFound: A path does not exist.
    """
    from docrag.read.files import find_files
    from docrag.read.source import open_source

    pages = 0
    refused: list[str] = []
    for file in find_files(list(paths), lambda _, error: refused.append(str(error))):
        try:
            with closing(open_source(file, passwords)) as source:
                pages += source.total_pages
        except DocumentError as error:
            refused.append(str(error))
    return pages, refused
