"""The layout of a collection: its named vectors, what its records must be, and what it was built with."""

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
"""Increased whenever older indexes can no longer be read."""

TEXTS = "texts"
"""The layout that a fingerprint names if the records are texts of a vector store instead of pages."""

KEYWORDS = (
    "metadata.document_id",
    "metadata.source",
    "metadata.sources",
    "metadata.file_name",
    "metadata.title",
    "metadata.words_from",
    "metadata.page_label",
)
"""Payload fields with a keyword index, which filters and facets need; their values are texts."""
INTEGERS = ("metadata.page", "metadata.page_number", "metadata.total_pages")
"""Payload fields with an index of whole numbers."""

_NORM_TOLERANCE = 1e-2
_MAX_TERM = 2**32


@dataclass(frozen=True, slots=True)
class VectorSpec:
    """One named vector of a collection.

    `multi` vectors are compared by MaxSim over dot products and stored without an HNSW index, `dense` vectors
    by cosine, and `sparse` ones by dot product with the inverse document frequency, which Qdrant applies.
    """

    name: str
    kind: Literal["multi", "dense", "sparse"]
    dim: int
    """Length of a vector; 0 for a sparse one."""
    datatype: Datatype = "float16"
    """How the numbers of a multi-vector are stored."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The named vectors that every record of a collection has."""

    vectors: tuple[VectorSpec, ...]

    @classmethod
    def for_dims(
        cls, *, late: int | None, image: int | None, text: int, datatype: Datatype = "float16"
    ) -> Self:
        """Return the layout for encoders of these dimensions.

        Args:
            late: Dimensions of the late-interaction encoder; None without one.
            image: Dimensions of the image encoder; None without one.
            text: Dimensions of the text encoder.
            datatype: How `patches` is stored; the index must always be opened with the same one.
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
        """Return the layout of a vector store of texts, whose vectors have `dim` numbers."""
        return cls((VectorSpec(CAPTION, "dense", dim),))

    @property
    def has_pages(self) -> bool:
        """Whether the records are pages; else they are texts of a vector store with a user's own metadata."""
        return BM25 in self.names

    @property
    def names(self) -> frozenset[str]:
        """Names of the vectors."""
        return frozenset(spec.name for spec in self.vectors)

    @property
    def float16_vectors(self) -> frozenset[str]:
        """Names of the vectors that are stored as float16."""
        return frozenset(
            spec.name for spec in self.vectors if spec.kind == "multi" and spec.datatype == "float16"
        )


def validate_record(record: PageRecord, layout: Layout) -> None:
    """Refuse a record that an engine would reject half-way through a batch, or accept and never find again.

    Raises:
        InvalidRecord: The record does not fit the layout; the message names the page and the reason.
    """
    fault = _find_fault(record, layout)
    if fault:
        raise InvalidRecord(f"{page_name(record)}: {fault}")


def _find_fault(record: PageRecord, layout: Layout) -> str:
    """Return the first thing that is wrong with a record; empty if nothing is."""
    fault = _fault_of_id(record.id) or _fault_of_payload(record.payload) or _fault_of_names(record, layout)
    if fault:
        return fault
    for spec in layout.vectors:
        fault = _fault_of_vector(record.vectors[spec.name], spec)
        if fault:
            return fault
    return ""


def page_name(record: PageRecord) -> str:
    """Return how errors name a record: by page and source, else by its id."""
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
        # Qdrant would store bytes as a list of integers and NaN as null, and panic on lone surrogates.
        json.dumps(payload, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        return f"the payload is not JSON: {error}"
    return ""


def _fault_of_names(record: PageRecord, layout: Layout) -> str:
    names = frozenset(record.vectors)
    missing = sorted(layout.names - names)
    unknown = sorted(names - layout.names)
    if missing:
        return f"no vector {', '.join(missing)}"
    if unknown:
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
        return f"{spec.name} has {vector.size} floats, Qdrant accepts fewer than {MAX_FLOATS}"
    deviation = np.abs(np.sqrt(np.einsum("ij,ij->i", vector, vector)) - 1)
    if deviation.max() > _NORM_TOLERANCE:
        return f"row {int(deviation.argmax())} of {spec.name} is not of length 1"
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
    """What an index was built with: the fingerprints of its encoders, and all else that shapes the vectors.

    `values` is JSON: {"layout": 1, "late": {...} or None, "image": {...} or None, "text": {...},
    "render_side": int}, and whatever else must be equal.
    """

    values: Mapping[str, Any]

    def to_json(self) -> str:
        """Return the text to store with the index; equal fingerprints give equal texts."""
        return json.dumps(dict(self.values), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            StoreError: The text is no JSON object.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise StoreError(f"the fingerprint of the index is damaged: {error}") from error
        if not isinstance(values, dict):
            raise StoreError("the fingerprint of the index is damaged: it is not a JSON object")
        return cls(values)


def require_pages(fingerprint: Fingerprint) -> None:
    """Refuse an index that does not hold pages.

    Raises:
        IndexMismatch: It holds the texts of a vector store.
    """
    if fingerprint.values.get("layout") == TEXTS:
        raise IndexMismatch(
            "the index holds texts of a vector store, not pages of documents",
            "open it with DocragVectorStore, or name another location in --index",
        )


def require_equal(stored: Fingerprint, requested: Fingerprint) -> None:
    """Refuse to open an index with other encoders than those it was built with.

    Raises:
        IndexMismatch: They differ; the message describes both sides of the first difference.
    """
    first = ("layout", "late", "image", "text")
    others = sorted((set(stored.values) | set(requested.values)) - set(first))
    for key in (*first, *others):
        built_with, wanted = stored.values.get(key), requested.values.get(key)
        if _without_path(built_with) != _without_path(wanted):
            before, after = _describe_difference(key, built_with, wanted)
            raise IndexMismatch(
                f"index was built with {before}, asked for {after}",
                "open it with the former, ingest into a new index, or rebuild it: docrag migrate",
            )


def is_equal(stored: Fingerprint, requested: Fingerprint) -> bool:
    """Whether an index with the one fingerprint can be opened with the other; see `require_equal`."""
    try:
        require_equal(stored, requested)
    except IndexMismatch:
        return False
    return True


def _without_path(encoder: Any) -> Any:
    """Return an encoder's fingerprint without where its weights lie, if their digest says what they are."""
    if not isinstance(encoder, Mapping) or not encoder.get("digest"):
        return encoder
    return {name: value for name, value in encoder.items() if name not in ("model", "revision")}


def _describe_difference(key: str, built_with: Any, wanted: Any) -> tuple[str, str]:
    """Describe both sides of a difference by model, or by the first differing field of the same model."""
    before, after = _describe(key, built_with), _describe(key, wanted)
    if before != after or not isinstance(built_with, Mapping) or not isinstance(wanted, Mapping):
        return before, after
    fields = sorted({*built_with, *wanted})
    field = next(name for name in fields if built_with.get(name) != wanted.get(name))
    return f"{before}, {field} {built_with.get(field)!r}", f"{field} {wanted.get(field)!r}"


def _describe(key: str, value: Any) -> str:
    if isinstance(value, Mapping):
        names = [str(value[name]) for name in ("family", "model") if value.get(name)]
        return " ".join(names) or f"{key} {dict(value)}"
    return f"no {key} encoder" if value is None else f"{key} {value}"
