"""The collection of the design on a Qdrant server, with what its version has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from qdrant_client import models

from docrag.errors import IndexMismatch, ServerRefused, SettingsError, StoreError
from docrag.store.layout import INTEGERS, KEYWORDS, Fingerprint, Layout, VectorSpec
from docrag.types import PATCHES, Datatype

SINCE: Mapping[str, tuple[int, int]] = {"memory": (1, 19), "turbo4": (1, 19), "turbo8": (1, 20)}
"""The version of the server that brought a feature."""

METADATA = "docrag"
"""The key of the collection's metadata under which docrag writes."""
HELD_BY = "held_by"
"""Payload field with the machines whose manifests hold a page."""
_FOREIGN = "name another collection in --index; docrag makes it when something is ingested"


@dataclass(frozen=True, slots=True)
class CollectionOptions:
    """What a collection can be given when it is made, and not changed after."""

    tenant: str = ""
    """A payload field, such as metadata.customer, that every query will filter by; pages are then stored and
    linked by its values."""
    shard_number: int | None = None
    replication_factor: int | None = None
    write_consistency_factor: int | None = None

    def over(self, others: CollectionOptions) -> CollectionOptions:
        """These, and what they leave open as others have it."""
        given = {name: value for name, value in asdict(self).items() if value}
        return replace(others, **given)


DEFAULTS = CollectionOptions()
"""What a collection is given where nothing else is asked for."""


def has(version: tuple[int, int], feature: str) -> bool:
    """Whether a server of this version has a feature."""
    return version >= SINCE[feature]


def collection_settings(
    layout: Layout, fingerprint: Fingerprint, options: CollectionOptions, version: tuple[int, int]
) -> dict[str, Any]:
    """The arguments of `QdrantClient.create_collection`, but for the name.

    Raises:
        ServerRefused: The server is too old for the datatype.
    """
    for spec in layout.vectors:
        if spec.kind == "multi":
            _require_datatype(spec.datatype, version)
    settings = {
        "vectors_config": {
            spec.name: _dense(spec, version) for spec in layout.vectors if spec.kind != "sparse"
        },
        "sparse_vectors_config": {
            spec.name: models.SparseVectorParams(modifier=models.Modifier.IDF)
            for spec in layout.vectors
            if spec.kind == "sparse"
        },
        # No links across tenants: a query would follow them in vain.
        "hnsw_config": models.HnswConfigDiff(m=0, payload_m=16) if options.tenant else None,
        "shard_number": options.shard_number,
        "replication_factor": options.replication_factor,
        "write_consistency_factor": options.write_consistency_factor,
        "metadata": fingerprint_metadata(fingerprint),
    }
    return {name: value for name, value in settings.items() if value is not None}


def payload_indexes(options: CollectionOptions) -> Iterator[tuple[str, Any]]:
    """The fields to index before pages are written, and how; a later index would read all pages again."""
    for key in (*KEYWORDS, HELD_BY):
        if key != options.tenant:
            yield key, models.PayloadSchemaType.KEYWORD
    for key in INTEGERS:
        if key == options.tenant:
            raise SettingsError(f"{key} is a number and cannot be the tenant", "take a field of texts")
        yield key, models.PayloadSchemaType.INTEGER
    if options.tenant:
        kind = models.KeywordIndexType.KEYWORD
        yield options.tenant, models.KeywordIndexParams(type=kind, is_tenant=True)


def collection_options_of(info: models.CollectionInfo) -> CollectionOptions:
    """What a collection was given when it was made."""
    params = info.config.params
    tenants = (key for key, field in info.payload_schema.items() if getattr(field.params, "is_tenant", False))
    return CollectionOptions(
        next(tenants, ""), params.shard_number, params.replication_factor, params.write_consistency_factor
    )


def fingerprint_metadata(fingerprint: Fingerprint) -> dict[str, Any]:
    """The metadata to keep with a collection; as text, because the client leaves out what is null."""
    return {METADATA: {"fingerprint": fingerprint.to_json()}}


def read_fingerprint(info: models.CollectionInfo, where: str) -> Fingerprint:
    """What a collection was built with.

    Args:
        info: As the server tells it.
        where: Address of the collection, for the error.

    Raises:
        StoreError: docrag did not make the collection.
    """
    told = (info.config.metadata or {}).get(METADATA)
    if not isinstance(told, Mapping) or not isinstance(told.get("fingerprint"), str):
        raise StoreError(f"the collection {where} was not made by docrag, which leaves it as it is", _FOREIGN)
    return Fingerprint.from_json(told["fingerprint"])


def require_layout(info: models.CollectionInfo, layout: Layout, where: str) -> None:
    """Refuse a collection with other vectors.

    Raises:
        IndexMismatch: It has others; the message names the first one.
    """
    params = info.config.params
    dense = params.vectors if isinstance(params.vectors, dict) else {}
    found = {name: _kind_of(vector) for name, vector in dense.items()}
    found |= dict.fromkeys(params.sparse_vectors or {}, "sparse")
    wanted = {spec.name: _name_of(spec) for spec in layout.vectors}
    for name in sorted({*found, *wanted}):
        was, now = found.get(name, "none"), wanted.get(name, "none")
        if was != now:
            raise IndexMismatch(
                f"{where} holds other vectors: as {name} it has {was}, asked for {now}",
                "open it with the encoders that it was built with, or ingest into a new collection",
            )


def _kind_of(params: models.VectorParams) -> str:
    return f"{'multi' if params.multivector_config else 'dense'} {params.size}"


def _name_of(spec: VectorSpec) -> str:
    return spec.kind if spec.kind == "sparse" else f"{spec.kind} {spec.dim}"


def _require_datatype(datatype: Datatype, version: tuple[int, int]) -> None:
    if datatype in SINCE and not has(version, datatype):
        oldest, own = (".".join(map(str, told)) for told in (SINCE[datatype], version))
        raise ServerRefused(f"{datatype} needs Qdrant {oldest}, the server is {own}", "take float16")


def _dense(spec: VectorSpec, version: tuple[int, int]) -> models.VectorParams:
    if spec.kind == "dense":
        return models.VectorParams(size=spec.dim, distance=models.Distance.COSINE)
    return models.VectorParams(
        size=spec.dim,
        distance=models.Distance.DOT,  # rows are of length 1
        multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
        datatype=models.Datatype(spec.datatype),
        hnsw_config=models.HnswConfigDiff(m=0),
        **(_on_disk(version) if spec.name == PATCHES else {}),
    )


def _on_disk(version: tuple[int, int]) -> dict[str, Any]:
    """A query reads a hundred pages of `patches`: they stay on disk until then."""
    return {"memory": models.Memory.COLD} if has(version, "memory") else {"on_disk": True}
