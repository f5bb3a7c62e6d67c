"""A query: as a user gives it, and as Qdrant is asked, with one request for each signal in one round trip."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from docrag.common.images import to_rgb
from docrag.errors import QueryError
from docrag.search.filters import Filter, metadata_filter
from docrag.search.stages import SIEVE_ROWS, Stages, shortened
from docrag.store.requests import PayloadFilter, Prefetch, QueryRequest
from docrag.types import BM25, CAPTION, IMAGE, MODES, PATCHES, POOLED, Mode, SparseVector, Vector

if TYPE_CHECKING:
    from PIL.Image import Image


Signal = Literal["late", "cosine", "text"]
SIGNALS: Mapping[Mode, tuple[Signal, ...]] = {
    "hybrid": ("late", "cosine", "text"),
    "late": ("late",),
    "cosine": ("cosine",),
    "text": ("text",),
}
DEPTH = 100
"""How many pages the cosine and the text signal rank."""


@dataclass(frozen=True, slots=True)
class Query:
    """Words, an image or a recording, or several of them, and what is wanted.

    Raises:
        QueryError: There is nothing to look for, the words are not text, or k is not positive.
    """

    text: str = ""
    image: Image | None = None
    audio: Path | None = None
    k: int = 10
    mode: Mode = "hybrid"
    filter: Filter | None = None
    regions: bool = True
    """Whether hits say which parts of their pages match. The vectors of these pages are read for that."""

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise QueryError(
                f"the query is not text but {type(self.text).__name__}",
                "pass the question alone; in a chain, select it from the input before the retriever",
            )
        if not self.text.strip() and self.image is None and self.audio is None:
            raise QueryError("the query is empty", "ask a question, give some words or an image")
        if self.k < 1:
            raise QueryError(f"k = {self.k}", "ask for at least one page")


def make_query(
    text: str,
    image: Image | str | os.PathLike[str] | None,
    audio: str | os.PathLike[str] | None,
    k: int,
    mode: Mode,
    filter: Filter | None,
    regions: bool = True,
) -> Query:
    """A query whose image and recording may be paths of files.

    Raises:
        QueryError: There is nothing to look for, k is not positive, or a file does not exist.
    """
    opened = open_image(image) if isinstance(image, str | os.PathLike) else image
    recording = require_recording(audio) if audio is not None else None
    return Query(text, opened, recording, k, mode, filter, regions)


def open_image(path: str | os.PathLike[str]) -> Image:
    """An image file as a query.

    Raises:
        QueryError: The file does not exist, or it is not an image.
    """
    from PIL import Image as pillow
    from PIL import ImageOps

    try:
        with pillow.open(path) as opened:
            return to_rgb(ImageOps.exif_transpose(opened))
    except FileNotFoundError:
        raise QueryError(f"{path} does not exist", "give the path of an image file") from None
    except Exception as error:  # Pillow raises anything for broken files, TypeError and struct.error included
        raise QueryError(
            f"{path} cannot be read as an image: {error}", "give a PNG, JPEG, WebP or TIFF"
        ) from error


def require_recording(path: str | os.PathLike[str]) -> Path:
    """The path of a recording; the encoder reads the file.

    Raises:
        QueryError: The file does not exist.
    """
    if not Path(path).is_file():
        raise QueryError(f"{path} does not exist", "give the path of a recording")
    return Path(path)


def plan_queries(
    mode: Mode,
    vectors: Mapping[str, Vector],
    filter: Filter | None,
    k: int = 10,
    stages: Stages | None = None,
) -> dict[Signal, QueryRequest]:
    """The query of each signal that a mode needs.

    Args:
        mode: hybrid, late, cosine or text.
        vectors: The vectors of the query, by name.
        filter: What the metadata of a page must be like.
        k: How many pages are wanted in the end. Each query returns more, for the fusion.
        stages: How many pages each stage lets through. None takes the defaults.

    Raises:
        QueryError: There is no such mode, or the query has no vector that the mode compares.
    """
    if mode not in MODES:
        raise QueryError(f"there is no mode {mode!r}", f"one of {', '.join(MODES)}")
    usable = {name: vector for name, vector in vectors.items() if not _is_empty(vector)}
    condition = metadata_filter(filter) if filter else None
    requests: dict[Signal, QueryRequest] = {}
    for signal in SIGNALS[mode]:
        if signal == "late" and PATCHES in usable:
            sizes = stages or Stages()
            requests["late"] = _late(usable, condition, k, sizes if mode == "late" else sizes.for_fusion())
        elif signal == "cosine" and (IMAGE in usable or CAPTION in usable):
            requests["cosine"] = _ranking(usable, IMAGE if IMAGE in usable else CAPTION, condition, k)
        elif signal == "text" and BM25 in usable:
            requests["text"] = _ranking(usable, BM25, condition, k)
    # A text that consists of stop words has an empty BM25 vector: it is answered, with no pages.
    if not requests and BM25 not in vectors:
        raise QueryError(
            f"mode {mode} cannot answer this query: the index has no encoder for it",
            "build an index with an --image or --late model that sees (or hears), or ask with words",
        )
    return requests


def _is_empty(vector: Vector) -> bool:
    """Whether a query has no terms, for example because it has only stop words.

    Qdrant refuses such a vector.
    """
    return isinstance(vector, SparseVector) and not vector.indices


def _late(
    vectors: Mapping[str, Vector], filter: PayloadFilter | None, k: int, stages: Stages
) -> QueryRequest:
    """Exact MaxSim over the pages that `pooled` and the other vectors propose."""
    proposers = {POOLED: vectors[PATCHES]}
    proposers |= {name: vectors[name] for name in (BM25, CAPTION, IMAGE) if name in vectors}
    limits = {name: max(stages.prefetch[name], k) for name in proposers if stages.prefetch.get(name)}
    sieves: dict[str, tuple[Prefetch, ...]] = {}
    if stages.sieve and POOLED in limits:
        sieves[POOLED] = _sieve(vectors[PATCHES], filter, max(stages.sieve, limits[POOLED]))
    return QueryRequest(
        prefetch=tuple(
            Prefetch(proposers[name], name, limit, filter, prefetch=sieves.get(name, ()))
            for name, limit in limits.items()
        ),
        vector=vectors[PATCHES],
        using=PATCHES,
        filter=filter,
        limit=sum(limits.values()),  # the exact score of every proposed page
        ignore_quantization=True,
    )


def _sieve(query: Vector, filter: PayloadFilter | None, limit: int) -> tuple[Prefetch, ...]:
    """The pages that the whole query is compared with, selected by a shortened one.

    With a short query this would save nothing, so every page is compared with it.
    """
    assert not isinstance(query, SparseVector)
    if len(query) <= 2 * SIEVE_ROWS:
        return ()
    return (Prefetch(shortened(query), POOLED, limit, filter),)


def _ranking(vectors: Mapping[str, Vector], name: str, filter: PayloadFilter | None, k: int) -> QueryRequest:
    """The pages whose vector of that name is most similar."""
    return QueryRequest(vectors[name], name, max(DEPTH, k), filter)
