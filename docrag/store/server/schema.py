"""The schema of a collection on a Qdrant server, with the features that the server's version offers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from qdrant_client import models

from docrag.errors import IndexMismatch, ServerRefused, SettingsError, StoreError
from docrag.store.layout import INTEGERS, KEYWORDS, TEXTS, Fingerprint, Layout, VectorSpec
from docrag.store.payload import HELD_BY as HELD_BY
from docrag.types import PATCHES, Datatype

SINCE: Mapping[str, tuple[int, int]] = {
    "update_mode": (1, 17),
    "memory": (1, 19),
    "turbo4": (1, 19),
    "turbo8": (1, 20),
}
"""The server version that introduced each feature."""

METADATA = "docrag"
"""The key under which docrag writes into the collection's metadata."""
IDENTITY = "docrag_id"
"""The key under which the collection's id is in its metadata; see `docrag.store.identity`."""
_FINGERPRINT = "fingerprint"
_NULLS = "fingerprint_nulls"
"""The paths of the fingerprint's fields that are null."""
TEXT = "page_content"
"""The payload field with an index of words, so that `page_content:catering` finds pages in the dashboard."""
_FOREIGN = "name another collection in --index; docrag creates it when something is ingested"


@dataclass(frozen=True, slots=True)
class CollectionOptions:
    """Options that a collection gets when it is created, and that cannot be changed afterwards."""

    tenant: str = ""
    """A payload field, such as metadata.file_name, that every query filters by; pages with the same value are
    then stored and linked together."""
    shard_number: int | None = None
    replication_factor: int | None = None
    write_consistency_factor: int | None = None
    identity: str = field(default="", compare=False)
    """The id of the collection, which a migration carries over; none if it is empty."""

    def with_defaults(self, defaults: CollectionOptions) -> CollectionOptions:
        """Return these options, with those that are not set taken from others."""
        options_set = {name: value for name, value in asdict(self).items() if value}
        return replace(defaults, **options_set)


DEFAULTS = CollectionOptions()
"""Options of a collection for which nothing is set."""


def version_text(version: tuple[int, int]) -> str:
    """Return a version as people write it.

    >>> version_text((1, 19))
    '1.19'
    """
    major, minor = version
    return f"{major}.{minor}"


def has(version: tuple[int, int], feature: str) -> bool:
    """Whether a server of this version has a feature of `SINCE`."""
    return version >= SINCE[feature]


def collection_settings(
    layout: Layout, fingerprint: Fingerprint, options: CollectionOptions, version: tuple[int, int]
) -> dict[str, Any]:
    """Return the arguments of `QdrantClient.create_collection`, except for the name.

    Raises:
        ServerRefused: The server is too old for the datatype.
    """
    for spec in layout.vectors:
        if spec.kind == "multi":
            _require_datatype(spec.datatype, version)
    settings = {
        "vectors_config": {
            spec.name: _vector_params(spec, version) for spec in layout.vectors if spec.kind != "sparse"
        },
        "sparse_vectors_config": {
            spec.name: models.SparseVectorParams(modifier=models.Modifier.IDF)
            for spec in layout.vectors
            if spec.kind == "sparse"
        },
        # HNSW links across tenants would be of no use: every query stays within one tenant.
        "hnsw_config": models.HnswConfigDiff(m=0, payload_m=16) if options.tenant else None,
        # By default a cluster makes one shard for each node. Qdrant counts how rare a term is within a shard,
        # so the pages of a small collection would be ranked by where they happen to be stored.
        "shard_number": options.shard_number or 1,
        "replication_factor": options.replication_factor,
        "write_consistency_factor": options.write_consistency_factor,
        "metadata": {**fingerprint_metadata(fingerprint), **identity_metadata(options.identity)},
    }
    return {name: value for name, value in settings.items() if value is not None}


def require_tenant(tenant: str, fingerprint: Fingerprint) -> None:
    """Refuse a tenant by which no search could ever filter.

    Args:
        tenant: The payload field; empty for none.
        fingerprint: Of the collection. The texts of a vector store have any metadata, pages only their own.

    Raises:
        SettingsError: No page has the field, or it holds numbers.
    """
    # A filter by source is made with metadata.sources, which has all names of a file.
    fields = [key for key in KEYWORDS if key != "metadata.source"]
    if not tenant or tenant in fields or fingerprint.values.get("layout") == TEXTS:
        return
    hint = f"choose one of {', '.join(fields)}, or leave tenant out"
    if tenant == "metadata.source":
        raise SettingsError(f"no filter uses {tenant}, so it cannot be the tenant", hint)
    if tenant in (*INTEGERS, "metadata.width", "metadata.height"):
        raise SettingsError(f"{tenant} is a number and cannot be the tenant", hint)
    raise SettingsError(f"no page has a field {tenant}, so it cannot be the tenant", hint)


def payload_indexes(options: CollectionOptions) -> Iterator[tuple[str, Any]]:
    """Yield the payload fields to index, and how.

    Filters and facets by these fields are quick, and are the only ones that a collection in strict mode
    allows.
    """
    for key in (*KEYWORDS, HELD_BY):
        if key != options.tenant:
            yield key, models.PayloadSchemaType.KEYWORD
    for key in INTEGERS:
        if key != options.tenant:
            yield key, models.PayloadSchemaType.INTEGER
    yield (
        TEXT,
        models.TextIndexParams(
            type=models.TextIndexType.TEXT, tokenizer=models.TokenizerType.WORD, lowercase=True
        ),
    )
    if options.tenant:
        kind = models.KeywordIndexType.KEYWORD
        yield options.tenant, models.KeywordIndexParams(type=kind, is_tenant=True)


def read_options(info: models.CollectionInfo) -> CollectionOptions:
    """Return the options that a collection was created with."""
    params = info.config.params
    tenants = (key for key, field in info.payload_schema.items() if getattr(field.params, "is_tenant", False))
    return CollectionOptions(
        next(tenants, ""),
        params.shard_number,
        params.replication_factor,
        params.write_consistency_factor,
        read_identity(info),
    )


def identity_metadata(identity: str) -> dict[str, Any]:
    """Return the part of a collection's metadata that holds its id; empty if it has none.

    It has a key of its own, since the server replaces metadata key by key.
    """
    return {IDENTITY: identity} if identity else {}


def read_identity(info: models.CollectionInfo) -> str:
    """Return the id of a collection; empty if an older docrag created it, which gave none."""
    return str((info.config.metadata or {}).get(IDENTITY, ""))


def fingerprint_metadata(
    fingerprint: Fingerprint, existing: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the metadata of a collection: the fingerprint as people read it in the dashboard.

    The client drops null values, so the names of fields that are null are listed beside the fingerprint.

    Args:
        fingerprint: What the collection is built with.
        existing: The metadata that it has already; what docrag keeps beside the fingerprint stays.
    """
    own = (existing or {}).get(METADATA)
    kept = {key: value for key, value in own.items() if key != _NULLS} if isinstance(own, Mapping) else {}
    values, nulls = _without_nulls(fingerprint.values)
    return {METADATA: {**kept, _FINGERPRINT: values, **({_NULLS: nulls} if nulls else {})}}


def find_fingerprint(info: models.CollectionInfo) -> Fingerprint | None:
    """Return what a collection was built with; None if docrag did not create it."""
    own = (info.config.metadata or {}).get(METADATA)
    if not isinstance(own, Mapping):
        return None
    stored = own.get(_FINGERPRINT)
    if isinstance(stored, str):  # as an older docrag wrote it
        return Fingerprint.from_json(stored)
    return Fingerprint(_with_nulls(stored, own.get(_NULLS, ()))) if isinstance(stored, Mapping) else None


def read_fingerprint(info: models.CollectionInfo, where: str) -> Fingerprint:
    """Return what a collection was built with.

    Args:
        info: The server's description of the collection.
        where: The address of the collection, for the error.

    Raises:
        StoreError: The collection was not created by docrag.
    """
    fingerprint = find_fingerprint(info)
    if fingerprint is None:
        raise StoreError(f"the collection {where} was not made by docrag and is left unchanged", _FOREIGN)
    return fingerprint


def _without_nulls(values: Mapping[str, Any], path: str = "") -> tuple[dict[str, Any], list[str]]:
    """Return nested values without those that are None, and the paths of these, with dots."""
    present: dict[str, Any] = {}
    nulls: list[str] = []
    for key, value in values.items():
        if value is None:
            nulls.append(path + key)
        elif isinstance(value, Mapping):
            present[key], nested = _without_nulls(value, f"{path}{key}.")
            nulls += nested
        else:
            present[key] = value
    return present, nulls


def _with_nulls(values: Mapping[str, Any], nulls: Iterable[str], path: str = "") -> dict[str, Any]:
    """Return the nested values from which `_without_nulls` made these."""
    nulls = list(nulls)
    complete = {
        key: _with_nulls(value, nulls, f"{path}{key}.") if isinstance(value, Mapping) else value
        for key, value in values.items()
    }
    for null in nulls:
        parent, _, key = null.rpartition(".")
        if parent == path.removesuffix("."):
            complete[key] = None
    return complete


def require_layout(info: models.CollectionInfo, layout: Layout, where: str) -> None:
    """Refuse a collection whose vectors are not those of the layout.

    Raises:
        IndexMismatch: They differ; the message names the first difference.
    """
    params = info.config.params
    dense = params.vectors if isinstance(params.vectors, dict) else {}
    stored = {name: _describe_params(vector) for name, vector in dense.items()}
    stored |= dict.fromkeys(params.sparse_vectors or {}, "sparse")
    expected = {spec.name: _describe_spec(spec) for spec in layout.vectors}
    for name in sorted({*stored, *expected}):
        stored_kind, expected_kind = stored.get(name, "none"), expected.get(name, "none")
        if stored_kind != expected_kind:
            raise IndexMismatch(
                f"{where} holds other vectors: as {name} it has {stored_kind}, asked for {expected_kind}",
                "open it with the encoders that it was built with, or ingest into a new collection",
            )


def _describe_params(params: models.VectorParams) -> str:
    return f"{'multi' if params.multivector_config else 'dense'} {params.size}"


def _describe_spec(spec: VectorSpec) -> str:
    return spec.kind if spec.kind == "sparse" else f"{spec.kind} {spec.dim}"


def _require_datatype(datatype: Datatype, version: tuple[int, int]) -> None:
    if datatype in SINCE and not has(version, datatype):
        raise ServerRefused(
            f"{datatype} needs Qdrant {version_text(SINCE[datatype])}, the server is {version_text(version)}",
            "use float16, or a newer server",
        )


def _vector_params(spec: VectorSpec, version: tuple[int, int]) -> models.VectorParams:
    if spec.kind == "dense":
        return models.VectorParams(size=spec.dim, distance=models.Distance.COSINE)
    return models.VectorParams(
        size=spec.dim,
        distance=models.Distance.DOT,  # the rows have length 1, so this is the cosine
        multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
        datatype=models.Datatype(spec.datatype),
        hnsw_config=models.HnswConfigDiff(m=0),
        **(_on_disk(version) if spec.name == PATCHES else {}),
    )


def _on_disk(version: tuple[int, int]) -> dict[str, Any]:
    """Keep `patches` on disk: a query reads only about a hundred pages of them."""
    return {"memory": models.Memory.COLD} if has(version, "memory") else {"on_disk": True}
