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
Answer = tuple[Rankings, Records | None]
"""The rankings of several queries, and what was read of their pages; None if that is nothing."""


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


def pack_answer(rankings: Sequence[Sequence[ScoredId]], records: Sequence[PackedRecord]) -> Answer:
    """The answer to several queries as it travels, with the records that were read of its pages."""
    packed = [([page.id for page in pages], [page.score for page in pages]) for pages in rankings]
    return packed, pack_records(records) if records else None


def unpack_answer(packed: Answer) -> list[list[ScoredId]]:
    """What `pack_answer` packed."""
    rankings, read = packed
    if read is None:
        return [list(map(ScoredId, ids, scores)) for ids, scores in rankings]
    records = {record.id: record for record in unpack_records(read)}
    return [list(map(ScoredId, ids, scores, map(records.get, ids))) for ids, scores in rankings]


def ids_in(rankings: Sequence[Sequence[ScoredId]]) -> list[str]:
    """The ids of all pages of several rankings, each once."""
    return list(dict.fromkeys(page.id for pages in rankings for page in pages))


def with_records(
    rankings: Sequence[Sequence[ScoredId]], records: Mapping[str, PageRecord]
) -> list[list[ScoredId]]:
    """The same rankings, with the record of each page that has one."""
    return [[ScoredId(page.id, page.score, records.get(page.id)) for page in pages] for pages in rankings]
