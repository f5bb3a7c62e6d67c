"""From a mode to Qdrant queries: one for each signal, answered in one round."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import numpy as np
from qdrant_client import models

from docrag.errors import QueryError
from docrag.search.stages import SIEVE_ROWS, Stages, shortened
from docrag.types import BM25, CAPTION, IMAGE, MODES, PATCHES, POOLED, Mode, SparseVector, Vector

Signal = Literal["late", "cosine", "text"]
SIGNALS: Mapping[Mode, tuple[Signal, ...]] = {
    "hybrid": ("late", "cosine", "text"),
    "late": ("late",),
    "cosine": ("cosine",),
    "text": ("text",),
}
DEPTH = 100
"""Pages that the cosine and the text signal rank."""


def queries(
    mode: Mode,
    vectors: Mapping[str, Vector],
    filter: Mapping[str, str | int] | None,
    k: int = 10,
    stages: Stages | None = None,
) -> dict[Signal, models.QueryRequest]:
    """The query of each signal that a mode needs.

    Args:
        mode: hybrid, late, cosine or text.
        vectors: The query's vector by name.
        filter: Values that metadata must have, all of them.
        k: How many pages are wanted in the end; each query returns more, for the fusion.
        stages: How many pages are compared exactly, as tuned; None takes the defaults.

    Raises:
        QueryError: No such mode, or the query has no vector that it compares.
    """
    if mode not in MODES:
        raise QueryError(f"no mode {mode!r}", f"one of {', '.join(MODES)}")
    chosen = stages or Stages()
    deep = chosen if mode == "late" else chosen.for_fusion()
    makers: Mapping[Signal, Callable[..., models.QueryRequest]] = {
        "late": partial(_late, stages=deep),
        "cosine": _cosine,
        "text": _text,
    }
    usable = {name: vector for name, vector in vectors.items() if not _empty(vector)}
    answerable = {
        "late": PATCHES in usable,
        "cosine": IMAGE in usable or CAPTION in usable,
        "text": BM25 in usable,
    }
    wanted = [signal for signal in SIGNALS[mode] if answerable[signal]]
    if not wanted and BM25 not in vectors:  # a text always has terms, if only words that are left out
        raise QueryError(
            f"mode {mode} cannot compare such a query: the index has no encoder that takes it",
            "build an index with --image or --late and a model that sees (or hears), or ask with words",
        )
    return {signal: makers[signal](usable, metadata_filter(filter), k) for signal in wanted}


def _empty(vector: Vector) -> bool:
    """Whether a query has no terms at all, as one of stop words; Qdrant refuses such a vector."""
    return isinstance(vector, SparseVector) and not vector.indices


def metadata_filter(values: Mapping[str, str | int] | None) -> models.Filter | None:
    """A filter on metadata; `source` means any of the paths at which a document stands.

    Raises:
        QueryError: A key is no name of a field, or `page` is no page number.
    """
    if not values:
        return None
    return models.Filter(must=[_condition(key, value) for key, value in values.items()])


def _condition(key: str, given: str | int) -> models.Condition:
    value = str(given)
    if not re.fullmatch(r"\w[\w.-]*", key):
        raise QueryError(
            f"filter {key}={value}: not the name of a metadata field", "such as file_name=report.pdf"
        )
    if key == "page":
        if not re.fullmatch(r"[1-9]\d{0,8}", value):
            raise QueryError(f"filter page={value}: not a page number", "pages count from 1")
        return _match("metadata.page", int(value) - 1)
    if key == "source":
        return _match("metadata.sources", value)
    if not re.fullmatch(r"-?\d{1,18}", value):
        return _match(f"metadata.{key}", value)
    # The command line gives text only; metadata may hold numbers.
    either: list[models.Condition] = [_match(f"metadata.{key}", one) for one in (value, int(value))]
    return models.Filter(should=either)


def _match(key: str, value: str | int) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def _late(
    vectors: Mapping[str, Vector], filter: models.Filter | None, k: int, stages: Stages
) -> models.QueryRequest:
    sources = {
        POOLED: vectors[PATCHES],
        **{name: vectors[name] for name in (BM25, CAPTION, IMAGE) if name in vectors},
    }
    limits = {name: max(stages.prefetch[name], k) for name in sources if stages.prefetch.get(name)}
    proposals = [
        models.Prefetch(query=_plain(sources[name]), using=name, filter=filter, limit=limit)
        for name, limit in limits.items()
    ]
    if stages.sieve and POOLED in limits:
        _sieve(proposals[0], vectors[PATCHES], max(stages.sieve, limits[POOLED]))
    return models.QueryRequest(
        prefetch=proposals,
        query=_plain(vectors[PATCHES]),
        using=PATCHES,
        filter=filter,
        limit=sum(limits.values()),  # the exact score of all that was proposed
        params=models.SearchParams(quantization=models.QuantizationSearchParams(ignore=True)),
    )


def _sieve(proposal: models.Prefetch, query: Vector, limit: int) -> None:
    """Let a shortened query pick what the whole one is compared with; with a short one it saves nothing."""
    assert not isinstance(query, SparseVector)
    if len(query) > 2 * SIEVE_ROWS:
        proposal.prefetch = models.Prefetch(
            query=_plain(shortened(query)), using=POOLED, filter=proposal.filter, limit=limit
        )


def _cosine(vectors: Mapping[str, Vector], filter: models.Filter | None, k: int) -> models.QueryRequest:
    name = IMAGE if IMAGE in vectors else CAPTION
    return models.QueryRequest(query=_plain(vectors[name]), using=name, filter=filter, limit=max(DEPTH, k))


def _text(vectors: Mapping[str, Vector], filter: models.Filter | None, k: int) -> models.QueryRequest:
    return models.QueryRequest(query=_plain(vectors[BM25]), using=BM25, filter=filter, limit=max(DEPTH, k))


def _plain(vector: Vector) -> list[float] | list[list[float]] | models.SparseVector:
    if isinstance(vector, SparseVector):
        return models.SparseVector(indices=list(vector.indices), values=list(vector.values))
    return np.asarray(vector, np.float32).tolist()  # type: ignore[no-any-return]
