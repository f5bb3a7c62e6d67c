"""What travels between the engine's process and those that use it."""

from __future__ import annotations

from collections.abc import Sequence

from docrag.common.rpc.codec import Codec
from docrag.store.layout import Layout, VectorSpec
from docrag.store.local.cache import PackedRecord
from docrag.store.requests import (
    FieldIsEmpty,
    FieldMatch,
    FieldRange,
    HasId,
    PayloadFilter,
    Prefetch,
    QueryRequest,
)
from docrag.types import Block, Hit, MultiVector, PageRecord, Region, ScoredId, SparseVector

CODEC = Codec(
    (
        Block,
        FieldIsEmpty,
        FieldMatch,
        FieldRange,
        HasId,
        Hit,
        Layout,
        MultiVector,
        PackedRecord,
        PageRecord,
        PayloadFilter,
        Prefetch,
        QueryRequest,
        Region,
        SparseVector,
        VectorSpec,
    ),
    raw_json={"PageRecord": ("payload",), "Hit": ("metadata",)},
)

Rankings = list[tuple[list[str], list[float]]]
"""For each query, the ids of its pages and their scores: an object for each page would take longer."""


def pack_rankings(rankings: Sequence[Sequence[ScoredId]]) -> Rankings:
    """Rankings as they travel."""
    return [([page.id for page in pages], [page.score for page in pages]) for pages in rankings]


def unpack_rankings(packed: Rankings) -> list[list[ScoredId]]:
    """What `pack_rankings` packed."""
    return [list(map(ScoredId, ids, scores)) for ids, scores in packed]
