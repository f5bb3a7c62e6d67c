"""From a mode to Qdrant queries: one for each signal, answered in one round."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

import numpy as np
from qdrant_client import models

from docrag.errors import QueryError
from docrag.search.filters import AllOf, AnyOf, Between, Condition, Filter, Is, Not, Value, condition_of
from docrag.search.stages import SIEVE_ROWS, Stages, shortened
from docrag.types import BM25, CAPTION, IMAGE, MODES, PATCHES, POOLED, Mode, SparseVector, Vector

Signal = Literal["late", "cosine", "text"]
SIGNALS: Mapping[Mode, tuple[Signal, ...]] = {
    "hybrid": ("late", "cosine", "text"),
    "late": ("late",),
    "cosine": ("cosine",),
    "text": ("text",),
}
OTHER_NAMES = {"file_path": "source", "page_number": "page"}
"""Fields as frameworks call them, by the names that pages have them under."""
DEPTH = 100
"""Pages that the cosine and the text signal rank."""


def queries(
    mode: Mode,
    vectors: Mapping[str, Vector],
    filter: Filter | None,
    k: int = 10,
    stages: Stages | None = None,
) -> dict[Signal, models.QueryRequest]:
    """The query of each signal that a mode needs.

    Args:
        mode: hybrid, late, cosine or text.
        vectors: The query's vector by name.
        filter: What metadata must be like.
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


def metadata_filter(wanted: Filter | None) -> models.Filter | None:
    """A filter on metadata; `source` means any of the paths at which a document stands.

    Raises:
        QueryError: A key is no name of a field, a value cannot be compared, or `page` is no page number.
    """
    if wanted is None or wanted == {}:
        return None
    made = _condition(condition_of(wanted))
    return made if isinstance(made, models.Filter) else models.Filter(must=[made])


def _condition(wanted: Condition) -> models.Filter | models.FieldCondition:
    match wanted:
        case AllOf(conditions):
            return models.Filter(must=[_condition(one) for one in conditions])
        case AnyOf(conditions):
            return models.Filter(should=[_condition(one) for one in conditions])
        case Not(condition):
            return models.Filter(must_not=[_condition(condition)])
        case Between(key=key):
            return _between(wanted)
        case Is(key, values):
            return _is(key, values)
    raise QueryError(f"{wanted!r} is no filter", "such as {'file_name': 'report.pdf'}")


def _is(key: str, values: Sequence[Value]) -> models.Filter | models.FieldCondition:
    field = field_of(key, values[0])
    if _own_name(key) == "page":
        return _match(field, [_page(value) - 1 for value in values])
    texts = [str(value) for value in values if not isinstance(value, float)]
    # The command line gives text only; metadata may hold numbers.
    numbers = [int(text) for text in texts if re.fullmatch(r"-?\d{1,18}", text)]
    either = [_match(field, texts)] if texts else []
    either += [_match(field, numbers)] if numbers else []
    for value in values:
        if isinstance(value, float):
            either.append(models.FieldCondition(key=field, range=models.Range(gte=value, lte=value)))
    return either[0] if len(either) == 1 else models.Filter(should=list(either))


def _between(wanted: Between) -> models.FieldCondition:
    field = field_of(wanted.key, "a range")
    first = 1 if _own_name(wanted.key) == "page" else 0  # stored from 0, asked for from 1
    bounds = {"gt": wanted.gt, "gte": wanted.gte, "lt": wanted.lt, "lte": wanted.lte}
    within = {name: bound - first for name, bound in bounds.items() if bound is not None}
    return models.FieldCondition(key=field, range=models.Range(**within))


def field_of(key: str, value: object = "...") -> str:
    """Where the store keeps what people call key.

    Args:
        key: Of a filter.
        value: Asked of it, for errors.

    Raises:
        QueryError: It cannot be the name of a field.
    """
    if not re.fullmatch(r"\w[\w.-]*", str(key)):
        raise QueryError(
            f"filter {key}={value}: not the name of a metadata field", "such as file_name=report.pdf"
        )
    name = _own_name(key)
    return "metadata.sources" if name == "source" else f"metadata.{name}"


def _own_name(key: str) -> str:
    return OTHER_NAMES.get(key, key)


def _page(value: Value) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", str(value)):
        raise QueryError(f"filter page={value}: not a page number", "pages count from 1")
    return int(value)


def _match(field: str, values: list[str] | list[int]) -> models.FieldCondition:
    if len(values) == 1:
        return models.FieldCondition(key=field, match=models.MatchValue(value=values[0]))
    return models.FieldCondition(key=field, match=models.MatchAny(any=values))


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
