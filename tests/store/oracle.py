"""What every store must answer: Qdrant's queries in numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from docrag.store.requests import FieldMatch, PayloadFilter, Prefetch, QueryRequest
from docrag.types import PageRecord, ScoredId, SparseVector, Vector


class Oracle:
    """Answers Qdrant's requests in numpy, float32, as Qdrant defines them."""

    def __init__(self, records: Sequence[PageRecord]) -> None:
        self.records = {record.id: record for record in records}
        terms = [t for record in records for t in record.vectors["bm25"].indices]
        self.idf = {
            t: math.log(1 + (len(records) - terms.count(t) + 0.5) / (terms.count(t) + 0.5)) for t in terms
        }

    def answer(self, request: QueryRequest | Prefetch) -> list[ScoredId]:
        parts = request.prefetch
        ids = {page.id for part in parts for page in self.answer(part)} if parts else self.records
        scored = [
            ScoredId(id, score)
            for id in ids
            if self.matches(self.records[id].payload, request.filter)
            and (score := self.score(request, self.records[id].vectors)) is not None
        ]
        return sorted(scored, key=lambda page: -page.score)[: request.limit]

    def score(self, request: QueryRequest | Prefetch, vectors: Mapping[str, Vector]) -> float | None:
        vector = vectors[request.using]
        if isinstance(vector, SparseVector):
            page = dict(zip(vector.indices, vector.values, strict=True))
            asked = zip(request.vector.indices, request.vector.values, strict=True)
            parts = [weight * page[t] * self.idf[t] for t, weight in asked if t in page]
            return sum(parts) if parts else None
        query = request.vector
        if query.ndim == 1:
            return float(vector @ query / np.linalg.norm(query))
        return float((query @ vector.T).max(axis=1).sum())

    def matches(self, payload: Mapping, condition: PayloadFilter | FieldMatch | None) -> bool:
        if condition is None:
            return True
        if isinstance(condition, FieldMatch):
            value = payload["metadata"].get(condition.key.removeprefix("metadata."))
            return not set(condition.values).isdisjoint(value if isinstance(value, list) else [value])
        parts = [self.matches(payload, part) for part in condition.must]
        either = [self.matches(payload, part) for part in condition.should]
        return all(parts) and (not either or any(either))
