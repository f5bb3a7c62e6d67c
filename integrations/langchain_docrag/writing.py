"""Texts on their way into a vector store: checked, given ids, and written at once."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from docrag.errors import InvalidRecord, SettingsError
from docrag.types import CAPTION, PageRecord
from langchain_docrag.filters import FLAGS, flags, plain
from langchain_docrag.text_backend import Texts


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Texts to be written, with the metadata and the id of each."""

    texts: list[str]
    metadatas: list[dict[str, Any]]
    ids: list[str]
    new: bool
    """Whether none of the ids was given."""


def batch_of(
    texts: Iterable[str],
    metadatas: Sequence[Mapping[str, Any]] | None,
    ids: Sequence[str | None] | None,
) -> TextBatch:
    """What is to be written; an id that is not given is made.

    Raises:
        SettingsError: The lists are not of one length, or an id or a text is none.
        InvalidRecord: Metadata cannot be kept.
    """
    listed = listed_texts(texts, "texts")
    given: Iterable[str | None] = [None] * len(listed) if ids is None else _unless_text(ids, "ids")
    named = listed_texts([str(uuid.uuid4()) if id is None else id for id in given], "ids")
    told: list[Mapping[str, Any]] = [{} for _ in listed] if metadatas is None else list(metadatas)
    for what, values in (("metadatas", told), ("ids", named)):
        if len(values) != len(listed):
            hint = "give one for each text"
            raise SettingsError(f"{len(listed)} texts and {len(values)} {what}", hint)
    kept = [plain(metadata or {}, repr(id)) for metadata, id in zip(told, named, strict=True)]
    return TextBatch(listed, kept, named, new=ids is None)


def listed_texts(given: Iterable[str], what: str) -> list[str]:
    """A list of texts.

    Raises:
        SettingsError: It is one text, whose letters would be taken for texts; or something in it is no text,
            or cannot be written as UTF-8.
    """
    values = list(_unless_text(given, what))
    for value in values:
        if not isinstance(value, str):
            raise SettingsError(f"{what}: {value!r} is no text", f"give the {what} as a list of texts")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise SettingsError(f"{what}: {value!r} is not Unicode: {error.reason}", "mend it") from error
    return values


def write(points: Texts, batch: TextBatch, vectors: Sequence[Sequence[float]]) -> list[str]:
    """Write texts with their vectors; of those with the same id the last one stays.

    Returns:
        The ids, once all of them survive a power cut.

    Raises:
        IndexMismatch: The vectors are not as long as those of the store.
        InvalidRecord: A vector cannot be kept.
    """
    _require_vectors(batch, vectors)
    records = {}
    for text, metadata, id, vector in zip(batch.texts, batch.metadatas, batch.ids, vectors, strict=True):
        payload = {"id": id, "page_content": text, "metadata": metadata}
        if told := flags(metadata):
            payload[FLAGS] = told
        records[id] = PageRecord(points.point_id(id), {CAPTION: np.array(vector, np.float32)}, payload)
    points.write(list(records.values()), new=batch.new)
    return batch.ids


def _require_vectors(batch: TextBatch, vectors: Sequence[Sequence[float]]) -> None:
    """Refuse vectors before a place is made for them."""
    lengths = {len(vector) for vector in vectors}
    if len(vectors) != len(batch.texts) or len(lengths) != 1:
        told = f"{len(vectors)} vectors of {' and '.join(map(str, sorted(lengths)))} numbers"
        raise InvalidRecord(f"the embeddings gave {told} for {len(batch.texts)} texts")
    for id, vector in zip(batch.ids, vectors, strict=True):
        if not len(vector) or not np.isfinite(vector).all():
            raise InvalidRecord(f"the vector of {id!r} is empty, or holds NaN or infinity")


def _unless_text(given: Iterable[Any], what: str) -> Iterable[Any]:
    if isinstance(given, str | bytes):
        raise SettingsError(f"{what}: {given!r} is one text", f"give the {what} as a list of texts")
    return given
