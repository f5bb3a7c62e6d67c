"""What travels between the engine's process and those that use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from docrag.common.rpc.codec import Codec
from docrag.store.layout import Layout, VectorSpec
from docrag.store.local.cache import PackedRecord, unpack_vectors
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

Records = tuple[list[str], bytes, list[Mapping[str, Any]]]
"""Records by ids, payloads and vectors. All payloads are one JSON text, since hundreds are read at once.
There are no vectors if none were asked for."""
Rankings = list[tuple[list[str], list[float]]]
"""For each query, the ids of its pages and their scores: an object for each page would take longer."""


def pack_records(records: Sequence[PackedRecord]) -> Records:
    """Records as they travel."""
    payloads = b"[" + b",".join(record.payload for record in records) + b"]"
    have_vectors = any(record.vectors for record in records)  # all of them, or none
    vectors = [record.vectors for record in records] if have_vectors else []
    return [record.id for record in records], payloads, vectors


def unpack_records(packed: Records) -> list[PageRecord]:
    """What `pack_records` packed; arrays are copies in 32 bits."""
    ids, payloads, vectors = packed
    unpacked = [unpack_vectors(each) for each in vectors] or [{} for _ in ids]
    return list(map(PageRecord, ids, unpacked, orjson.loads(payloads)))


def pack_rankings(rankings: Sequence[Sequence[ScoredId]]) -> Rankings:
    """Rankings as they travel."""
    return [([page.id for page in pages], [page.score for page in pages]) for pages in rankings]


def unpack_rankings(packed: Rankings) -> list[list[ScoredId]]:
    """What `pack_rankings` packed."""
    return [list(map(ScoredId, ids, scores)) for ids, scores in packed]
