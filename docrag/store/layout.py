"""What a collection keeps for a page: its named vectors, and the encoders that made them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from docrag.errors import IndexMismatch, InvalidRecord, StoreError
from docrag.types import (
    BM25,
    CAPTION,
    IMAGE,
    MAX_FLOATS,
    PATCHES,
    POOLED,
    Datatype,
    PageRecord,
    SparseVector,
    Vector,
)

LAYOUT_VERSION = 1
"""Raised whenever an index written before can no longer be read."""

TEXTS = "texts"
"""What a fingerprint names instead of the version where the records are texts of a vector store, no pages."""

KEYWORDS = ("metadata.document_id", "metadata.source", "metadata.sources", "metadata.file_name")
"""Payload fields with an index for texts, which filters and facets need."""
INTEGERS = ("metadata.page",)
"""Payload fields with an index for numbers."""

_NORM_TOLERANCE = 1e-2
_MAX_TERM = 2**32


@dataclass(frozen=True, slots=True)
class VectorSpec:
    """One named vector of a collection.

    `multi` is compared by MaxSim over dot products and stored without HNSW; `dense` is compared by
    cosine; `sparse` leaves the inverse document frequency to Qdrant.
    """

    name: str
    kind: Literal["multi", "dense", "sparse"]
    dim: int
    """Length of a vector; 0 for sparse ones."""
    datatype: Datatype = "float16"
    """Of a multi-vector."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The named vectors that every record of a collection has."""

    vectors: tuple[VectorSpec, ...]

    @classmethod
    def for_dims(
        cls, *, late: int | None, image: int | None, text: int, datatype: Datatype = "float16"
    ) -> Self:
        """The layout for encoders of these dimensions; None where there is no such encoder.

        Args:
            late: Of the late-interaction encoder.
            image: Of the image encoder.
            text: Of the encoder of captions.
            datatype: How `patches` is stored; the index must be opened with the same one again.
        """
        specs: list[VectorSpec] = []
        if late is not None:
            specs += [VectorSpec(PATCHES, "multi", late, datatype), VectorSpec(POOLED, "multi", late)]
        if image is not None:
            specs.append(VectorSpec(IMAGE, "dense", image))
        specs += [VectorSpec(CAPTION, "dense", text), VectorSpec(BM25, "sparse", 0)]
        return cls(tuple(specs))

    @classmethod
    def for_texts(cls, dim: int) -> Self:
        """The layout for texts alone, with vectors of so many numbers."""
        return cls((VectorSpec(CAPTION, "dense", dim),))

    @property
    def names(self) -> frozenset[str]:
        """Names of the vectors."""
        return frozenset(spec.name for spec in self.vectors)

    @property
    def halves(self) -> frozenset[str]:
        """Names of those whose numbers are stored in 16 bits."""
        return frozenset(
            spec.name for spec in self.vectors if spec.kind == "multi" and spec.datatype == "float16"
        )


def check(record: PageRecord, layout: Layout) -> None:
    """Refuse what an engine would reject half-way through a batch, or accept and never find again.

    Raises:
        InvalidRecord: The record does not fit; the message names the page and the reason.
    """
    fault = _fault_of_id(record.id) or _fault_of_payload(record.payload) or _fault_of_names(record, layout)
    for spec in layout.vectors:
        if fault:
            break
        fault = _fault_of_vector(record.vectors[spec.name], spec)
    if fault:
        raise InvalidRecord(f"{page_name(record)}: {fault}")


def page_name(record: PageRecord) -> str:
    """What an error calls a record: page and source, else its id."""
    metadata = record.payload.get("metadata")
    if isinstance(metadata, Mapping) and "source" in metadata and isinstance(metadata.get("page"), int):
        return f"page {metadata['page'] + 1} of {metadata['source']}"
    return f"page {record.id}"


def _fault_of_id(id: str) -> str:
    try:
        uuid.UUID(id)
    except (ValueError, AttributeError, TypeError):
        return f"the id {id!r} is not a UUID"
    return ""


def _fault_of_payload(payload: Mapping[str, Any]) -> str:
    if not isinstance(payload.get("page_content"), str):
        return "the payload has no text under page_content"
    try:
        # Qdrant would keep bytes as a list of integers and NaN as null, and panic on lone surrogates.
        json.dumps(payload, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        return f"the payload is not JSON: {error}"
    return ""


def _fault_of_names(record: PageRecord, layout: Layout) -> str:
    names = frozenset(record.vectors)
    if missing := sorted(layout.names - names):
        return f"no vector {', '.join(missing)}"
    if unknown := sorted(names - layout.names):
        return f"unknown vector {', '.join(unknown)}"
    return ""


def _fault_of_vector(vector: Vector, spec: VectorSpec) -> str:
    if isinstance(vector, SparseVector) != (spec.kind == "sparse"):
        return f"{spec.name} must be a {spec.kind} vector"
    if isinstance(vector, SparseVector):
        return _fault_of_sparse(vector, spec)
    if vector.ndim != (2 if spec.kind == "multi" else 1) or vector.shape[-1] != spec.dim:
        expected = f"(n, {spec.dim})" if spec.kind == "multi" else f"({spec.dim},)"
        return f"{spec.name} has the shape {vector.shape}, not {expected}"
    if not np.isfinite(vector).all():
        return f"{spec.name} holds NaN or infinity"
    return _fault_of_multi(vector, spec) if spec.kind == "multi" else ""


def _fault_of_multi(vector: NDArray[np.float32], spec: VectorSpec) -> str:
    if not len(vector):
        return f"{spec.name} is empty"
    if vector.size >= MAX_FLOATS:
        return f"{spec.name} has {vector.size} floats, Qdrant takes fewer than {MAX_FLOATS}"
    off = np.abs(np.sqrt(np.einsum("ij,ij->i", vector, vector)) - 1)
    if off.max() > _NORM_TOLERANCE:
        return f"row {int(off.argmax())} of {spec.name} is not of length 1"
    return ""


def _fault_of_sparse(vector: SparseVector, spec: VectorSpec) -> str:
    if len(vector.indices) != len(vector.values):
        return f"{spec.name} has {len(vector.indices)} indices and {len(vector.values)} values"
    if len(set(vector.indices)) != len(vector.indices):
        return f"{spec.name} names a term twice"
    if not all(0 <= index < _MAX_TERM for index in vector.indices):
        return f"{spec.name} has an index outside 0..2^32-1"
    if not np.isfinite(vector.values).all():
        return f"{spec.name} holds NaN or infinity"
    return ""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What an index was built with: the encoders' own fingerprints and what else shapes the vectors.

    `values` is JSON: {"layout": 1, "late": {...} or None, "image": {...} or None, "text": {...},
    "render_side": int}, and whatever else must be equal.
    """

    values: Mapping[str, Any]

    def to_json(self) -> str:
        """The text to keep beside the index; equal fingerprints give equal texts."""
        return json.dumps(dict(self.values), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            StoreError: The text is something else.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise StoreError(f"the fingerprint of the index is damaged: {error}") from error
        if not isinstance(values, dict):
            raise StoreError("the fingerprint of the index is damaged: it is not a JSON object")
        return cls(values)


def require_pages(fingerprint: Fingerprint) -> None:
    """Refuse what is no index of pages.

    Raises:
        IndexMismatch: A vector store keeps its texts there.
    """
    if fingerprint.values.get("layout") == TEXTS:
        raise IndexMismatch(
            "there are texts of a vector store, no pages of documents",
            "open it with DocragVectorStore, or name another place in --index",
        )


def require_equal(stored: Fingerprint, asked: Fingerprint) -> None:
    """Refuse to open an index with other encoders than it was built with.

    Raises:
        IndexMismatch: They differ; the message says what both are, for the first difference.
    """
    first = ("layout", "late", "image", "text")
    rest = sorted((set(stored.values) | set(asked.values)) - set(first))
    for key in (*first, *rest):
        was, now = stored.values.get(key), asked.values.get(key)
        if _weights(was) != _weights(now):
            before, after = _contrast(key, was, now)
            raise IndexMismatch(
                f"index was built with {before}, asked for {after}",
                "open it with the former, ingest into a new index, or build it anew: docrag migrate",
            )


def _weights(encoder: Any) -> Any:
    """What must be equal of an encoder: with the same weights, not where they lie."""
    if not isinstance(encoder, Mapping) or not encoder.get("digest"):
        return encoder
    return {name: value for name, value in encoder.items() if name not in ("model", "revision")}


def _contrast(key: str, was: Any, now: Any) -> tuple[str, str]:
    """How to name the two sides of a difference: by model; by what differs, where that is the same."""
    if not isinstance(was, Mapping) or not isinstance(now, Mapping):
        return _model_name(key, was), _model_name(key, now)
    before, after = _model_name(key, was), _model_name(key, now)
    if before != after:
        return before, after
    field = next(name for name in sorted({*was, *now}) if was.get(name) != now.get(name))
    return f"{before}, {field} {was.get(field)!r}", f"{field} {now.get(field)!r}"


def _model_name(key: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return (
            " ".join(str(value[name]) for name in ("family", "model") if value.get(name))
            or f"{key} {dict(value)}"
        )
    return f"no {key} encoder" if value is None else f"{key} {value}"
