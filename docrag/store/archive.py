"""An export of an index as plain files: parts of some hundred pages each, with a checksum for every file.

    index.json         what the index was built with, its documents, and the sha256 of each file
    part-00000.npz     arrays of pages, see below
    captions.jsonl     captions by a vision model, if the index has any
    search.json        search settings that `docrag tune` chose, if it was run

A part holds these arrays, which `numpy.load` reads without pickle:

    ids                          (pages,) text
    payloads, payloads.lengths   JSON, one after the other; (pages,) bytes of each
    images, images.lengths       JPEG, likewise; 0 bytes for a page without an image
    multi.NAME, ....lengths      (vectors of all pages, dim) float16, or float32 as in the index; (pages,)
    dense.NAME                   (pages, dim) float32
    sparse.NAME.indices, .values, .lengths    uint32, float32; (pages,) number of terms of each

Every file is written whole or not at all, and the list in index.json after the files it names, so an export
can be killed at any moment.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError

from docrag.common.files import write_atomically
from docrag.errors import IndexNotFound, StorageFull, StoreError
from docrag.store.payload import older_metadata, source_metadata
from docrag.types import PageRecord, SparseVector, Vector

logger = logging.getLogger(__name__)

FORMAT = 1
"""Increased whenever older archives can no longer be read."""

CONTENTS = "index.json"

_TEMPORARY = ".draft"
"""Suffix of a part or attachment that is not complete yet."""

_SOURCE_KEYS = frozenset(source_metadata(("",)))
"""Metadata that depends on where the files of a document are, not on what its pages hold."""

Arrays = dict[str, NDArray[Any]]


class ArchivedPage(NamedTuple):
    """A page with everything that the index keeps of it."""

    record: PageRecord
    image: bytes
    """JPEG; empty if there is none."""


@dataclass(frozen=True, slots=True)
class Part:
    """A file of an archive with pages."""

    pages: tuple[str, ...]
    """Their ids, in order."""
    state: str
    """`state_of` its pages."""
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of an archive without pages."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What an archive holds; index.json."""

    fingerprint: Mapping[str, Any]
    parts: tuple[Part, ...] = ()
    documents: tuple[Mapping[str, Any], ...] = ()
    """Rows of the manifest."""
    files: tuple[Mapping[str, Any], ...] = ()
    """Rows of the manifest."""
    complete: bool = False
    format: int = FORMAT
    attachments: Annotated[tuple[Attachment, ...], Field(alias="beside")] = ()
    """Exports by an older docrag list none."""
    image_base_url: str = ""
    """Where page images are served; empty in an export by an older docrag, or of an index without pages."""


_CONTENTS = TypeAdapter(Contents)


class Archive:
    """The files of an export.

    Args:
        folder: Where they are; created with the first file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def part_file(self, number: int) -> Path:
        """Return the path of a part, whether it exists or not; parts count from 0."""
        return self.folder / f"part-{number:05}.npz"

    def begun(self) -> Contents | None:
        """Return what the folder holds of an export, finished or not; None if a new one can begin there.

        Raises:
            StoreError: The folder holds something else.
        """
        if (self.folder / CONTENTS).is_file():
            return self._read_contents()
        if self.folder.exists() and not (self.folder.is_dir() and self._holds_only_temporary_files()):
            raise StoreError(
                f"{self.folder} exists and is no export", "name a folder that is empty or does not exist"
            )
        return None

    def contents(self) -> Contents:
        """Return what a finished export holds.

        Raises:
            IndexNotFound: There is no export.
            StoreError: It is not finished, its list is damaged, or it has another format.
        """
        if not (self.folder / CONTENTS).is_file():
            raise IndexNotFound(
                f"there is no export in {self.folder}", f"make one: docrag export {self.folder}"
            )
        contents = self._read_contents()
        if not contents.complete:
            raise StoreError(
                f"the export in {self.folder} is not finished",
                "run docrag export again: it continues where it stopped",
            )
        return contents

    def write_contents(self, contents: Contents) -> None:
        """Replace the list of what the archive holds."""
        path = self.folder / CONTENTS
        with _docrag_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, _CONTENTS.dump_json(contents, by_alias=True), sync=True)

    def write_part(
        self,
        number: int,
        state: str,
        pages: Iterable[ArchivedPage],
        float32_vectors: frozenset[str] = frozenset(),
    ) -> Part:
        """Write a part, whole or not at all.

        Args:
            number: Its number, from 0.
            state: `state_of` its pages.
            pages: Consumed one by one; their multi-vectors are kept in memory as float16 until all are read.
            float32_vectors: Names of the multi-vectors that stay float32.
        """
        path = self.part_file(number)
        temporary = path.with_suffix(_TEMPORARY)
        arrays = pack([_with_float16(page, float32_vectors) for page in pages])
        with _docrag_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]  # one could be called allow_pickle
                file.flush()
                os.fsync(file.fileno())
            ids = tuple(map(str, arrays["ids"]))
            part = Part(ids, state, temporary.stat().st_size, _sha256(temporary))
            temporary.replace(path)
        logger.debug("wrote %s: %d pages, %d bytes", path, len(part.pages), part.bytes)
        return part

    def write_attachment(self, name: str, chunks: Iterable[bytes]) -> Attachment | None:
        """Write a file without pages, whole or not at all; a file with the same content is left alone.

        Args:
            name: The name of the file.
            chunks: Its content. If there is none, a file of that name is removed, and None returned.
        """
        path = self.folder / name
        temporary = path.with_suffix(_TEMPORARY)
        with _docrag_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.writelines(chunks)
                file.flush()
                os.fsync(file.fileno())
            attachment = Attachment(name, temporary.stat().st_size, _sha256(temporary))
            if not attachment.bytes:
                path.unlink(missing_ok=True)
            elif not _is_intact(path, attachment):
                temporary.replace(path)
            temporary.unlink(missing_ok=True)
        return attachment if attachment.bytes else None

    def read_attachment(self, name: str, contents: Contents) -> Iterator[bytes]:
        """Yield the lines of a file without pages; none if the export has no such file.

        Raises:
            StoreError: The file is missing or damaged; this is raised before the first line.
        """
        for attachment in contents.attachments:
            if attachment.name == name:
                path = self.folder / name
                _require_intact(path, attachment)
                with path.open("rb") as file:
                    yield from file

    def holds(self, number: int, part: Part) -> bool:
        """Whether a part exists as it was written."""
        return _is_intact(self.part_file(number), part)

    def read_part(self, number: int, part: Part) -> Iterator[ArchivedPage]:
        """Yield the pages of a part, in order.

        Raises:
            StoreError: The part is missing or damaged; this is raised before the first page.
        """
        path = self.part_file(number)
        _require_intact(path, part)
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            yield from unpack(arrays)
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise StoreError(f"{path} is no part of an export: {error}", "export again") from error

    def trim(self, parts: int) -> None:
        """Remove the parts of a larger export that was in the folder before."""
        current = {self.part_file(number) for number in range(parts)}
        for path in self.folder.glob("part-*"):
            if path not in current:
                path.unlink()

    def _read_contents(self) -> Contents:
        path = self.folder / CONTENTS
        try:
            contents = _CONTENTS.validate_json(path.read_bytes())
        except ValidationError as error:
            fault = error.errors()[0]
            location = ".".join(map(str, fault["loc"]))
            raise StoreError(
                f"{path} is damaged: {location} {fault['msg']}", "export again into another folder"
            ) from error
        if contents.format != FORMAT:
            raise StoreError(
                f"{path} has format {contents.format}, not {FORMAT}",
                "use the version of docrag that wrote it",
            )
        return contents

    def _holds_only_temporary_files(self) -> bool:
        """Whether the folder is empty, or holds only what a killed process had not finished."""
        return all(path.suffix in (_TEMPORARY, ".tmp") for path in self.folder.iterdir())


def page_state(record: PageRecord, image_bytes: int) -> str:
    """Return a digest that changes whenever a page changes, made from what is cheap to read.

    Equal ids mean equal files; captions and titles may change, and a changed image shows in its size.

    Args:
        record: With `metadata` in its payload.
        image_bytes: The size of the page's image.
    """
    metadata = older_metadata(record.payload["metadata"])
    content = {key: value for key, value in metadata.items() if key not in _SOURCE_KEYS}
    text = json.dumps([record.id, content, image_bytes], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def state_of(page_states: Iterable[str]) -> str:
    """Return one digest for the `page_state` of many pages."""
    return hashlib.sha256("".join(page_states).encode()).hexdigest()


def pack(pages: Sequence[ArchivedPage]) -> Arrays:
    """Return the arrays of at least one page; all pages have the same vectors."""
    records = [page.record for page in pages]
    payloads = [json.dumps(dict(record.payload), ensure_ascii=False).encode() for record in records]
    arrays: Arrays = {"ids": np.array([record.id for record in records])}
    arrays |= _join("payloads", [np.frombuffer(payload, np.uint8) for payload in payloads])
    arrays |= _join("images", [np.frombuffer(page.image, np.uint8) for page in pages])
    for name, first in records[0].vectors.items():
        column: list[Any] = [record.vectors[name] for record in records]
        kind = _kind(first)
        if kind == "multi":
            arrays |= _join(f"multi.{name}", column)
        elif kind == "dense":
            arrays[f"dense.{name}"] = np.stack(column).astype(np.float32)
        else:
            arrays |= _join_sparse(f"sparse.{name}", column)
    return arrays


def unpack(arrays: Arrays) -> Iterator[ArchivedPage]:
    """Yield the pages that were packed; multi-vectors become float32 one page at a time.

    Raises:
        KeyError: An array is missing.
        ValueError: The arrays do not fit each other.
    """
    payloads = _split(arrays, "payloads")
    images = _split(arrays, "images")
    columns = _columns(arrays)
    for row, id in enumerate(arrays["ids"]):
        vectors = {name: _to_vector(column[row]) for name, column in columns.items()}
        record = PageRecord(str(id), vectors, json.loads(payloads[row].tobytes()))
        yield ArchivedPage(record, images[row].tobytes())


def _to_vector(stored: SparseVector | NDArray[Any]) -> Vector:
    return stored if isinstance(stored, SparseVector) else np.asarray(stored, np.float32)


def _kind(vector: Vector) -> str:
    if isinstance(vector, SparseVector):
        return "sparse"
    return "multi" if vector.ndim == 2 else "dense"


def _with_float16(page: ArchivedPage, float32_vectors: frozenset[str]) -> ArchivedPage:
    """Return a page with its multi-vectors in float16, as engines store them, to halve the memory it takes.

    Args:
        page: A page as an engine returns it.
        float32_vectors: Names of the multi-vectors that stay float32.
    """
    vectors: dict[str, Any] = {
        name: np.asarray(vector, np.float16)
        if _kind(vector) == "multi" and name not in float32_vectors
        else vector
        for name, vector in page.record.vectors.items()
    }
    return ArchivedPage(PageRecord(page.record.id, vectors, page.record.payload), page.image)


def _join(key: str, rows: Sequence[NDArray[Any]]) -> Arrays:
    """Return rows of different lengths as one array, and their lengths."""
    return {key: np.concatenate(rows), f"{key}.lengths": np.array([len(row) for row in rows], np.int64)}


def _join_sparse(key: str, vectors: Sequence[SparseVector]) -> Arrays:
    indices = [np.asarray(vector.indices, np.uint32) for vector in vectors]
    values = [np.asarray(vector.values, np.float32) for vector in vectors]
    return {
        f"{key}.indices": np.concatenate(indices),
        f"{key}.values": np.concatenate(values),
        f"{key}.lengths": np.array([len(row) for row in values], np.int64),
    }


def _split(arrays: Arrays, key: str, lengths_key: str = "") -> list[NDArray[Any]]:
    """Return the rows of an array that `_join` made."""
    lengths = arrays[lengths_key or f"{key}.lengths"]
    return np.split(arrays[key], np.cumsum(lengths)[:-1])


def _columns(arrays: Arrays) -> dict[str, Sequence[Any]]:
    """Return for each vector name the vectors of all pages, in order."""
    columns: dict[str, Sequence[Any]] = {}
    for key in arrays:
        kind, _, name = key.partition(".")
        if kind == "dense":
            columns[name] = list(arrays[key])
        elif kind == "multi" and not name.endswith(".lengths"):
            columns[name] = _split(arrays, key)
        elif kind == "sparse" and name.endswith(".indices"):
            name = name.removesuffix(".indices")
            columns[name] = _sparse_column(arrays, f"sparse.{name}")
    return columns


def _sparse_column(arrays: Arrays, key: str) -> list[SparseVector]:
    indices = _split(arrays, f"{key}.indices", f"{key}.lengths")
    values = _split(arrays, f"{key}.values", f"{key}.lengths")
    return [
        SparseVector(tuple(row.tolist()), tuple(numbers.tolist()))
        for row, numbers in zip(indices, values, strict=True)
    ]


def _is_intact(path: Path, written: Part | Attachment) -> bool:
    return path.is_file() and path.stat().st_size == written.bytes and _sha256(path) == written.sha256


def _require_intact(path: Path, written: Part | Attachment) -> None:
    if not _is_intact(path, written):
        fault = "does not have the checksum it was written with" if path.is_file() else "is missing"
        raise StoreError(f"{path} {fault}", "copy it again, or run the export again, which repairs its files")


@contextmanager
def _docrag_errors(path: Path) -> Iterator[None]:
    """Turn errors of the operating system while a file is written into docrag's."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull(f"no space left for {path}", "free some space and run again") from error
        raise StoreError(f"cannot write {path}: {error.strerror}", "choose another folder") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
