"""An index as plain files: parts of some hundred pages each, with a checksum for every part.

    index.json         what the index was built with, its documents, and for each file its sha256
    part-00000.npz     what `docrag.store.parts` says
    captions.jsonl     what a vision model said of pages, if one was asked
    search.json        what `docrag tune` chose, if it did

A file is whole or not there, and the list is written after it, so that an export can be killed at any moment.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from docrag.errors import IndexNotFound, StorageFull, StoreError
from docrag.store.parts import ArchivedPage, halved, pack, unpack
from docrag.store.payload import source_metadata
from docrag.types import PageRecord

FORMAT = 1
"""Raised whenever an archive written before can no longer be read."""

CONTENTS = "index.json"
_NAMES = frozenset(source_metadata(("",)))
"""Metadata that follows from where the files lie, not from what a page says."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a file of an archive holds."""

    pages: tuple[str, ...]
    """Ids, in order."""
    state: str
    """`state_of` its pages."""
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Beside:
    """A file of an archive that holds no pages."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What an archive holds."""

    fingerprint: Mapping[str, Any]
    parts: tuple[Part, ...] = ()
    documents: tuple[Mapping[str, Any], ...] = ()
    """Rows of the manifest."""
    files: tuple[Mapping[str, Any], ...] = ()
    """Rows of the manifest."""
    complete: bool = False
    format: int = FORMAT
    beside: tuple[Beside, ...] = ()
    """None in an export of an older docrag."""
    image_base_url: str = ""
    """Where page images are served; empty in an export of an older docrag, or without pages."""


_CONTENTS = TypeAdapter(Contents)


class Archive:
    """The files of an export.

    Args:
        folder: Where they are; made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def part_file(self, number: int) -> Path:
        """Where a part is, or would be; they count from 0."""
        return self.folder / f"part-{number:05}.npz"

    def begun(self) -> Contents | None:
        """What is here of an export; None where one can be begun.

        Raises:
            StoreError: There is something else in the folder.
        """
        if (self.folder / CONTENTS).is_file():
            return self._read()
        # A process may have been killed while it wrote the first draft.
        if self.folder.exists() and not (
            self.folder.is_dir() and all(path.suffix == ".draft" for path in self.folder.iterdir())
        ):
            raise StoreError(
                f"{self.folder} exists and is no export", "name a folder that is empty or not there"
            )
        return None

    def contents(self) -> Contents:
        """What a finished export holds.

        Raises:
            IndexNotFound: There is none.
            StoreError: It was not finished, its list is damaged, or of another version.
        """
        if not (self.folder / CONTENTS).is_file():
            raise IndexNotFound(
                f"there is no export in {self.folder}", f"make one: docrag export {self.folder}"
            )
        contents = self._read()
        if not contents.complete:
            raise StoreError(f"the export in {self.folder} is not finished", "run it again: it goes on")
        return contents

    def _read(self) -> Contents:
        path = self.folder / CONTENTS
        try:
            found = _CONTENTS.validate_json(path.read_bytes())
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"]))
            raise StoreError(
                f"{path} is damaged: {where} {fault['msg']}", "export again into another folder"
            ) from error
        if found.format != FORMAT:
            raise StoreError(
                f"{path} has format {found.format}, not {FORMAT}", "use the docrag that wrote it"
            )
        return found

    def write_contents(self, contents: Contents) -> None:
        """Replace the list of what the archive holds, at once."""
        path = self.folder / CONTENTS
        with _named_errors(path):
            _draft_of(path, [_CONTENTS.dump_json(contents)]).replace(path)

    def write_part(
        self, number: int, state: str, pages: Iterable[ArchivedPage], whole: frozenset[str] = frozenset()
    ) -> Part:
        """Write a part, whole or not at all.

        Args:
            number: Its place.
            state: `state_of` its pages.
            pages: Read one by one; float16 of them is held in memory until all are there.
            whole: Names of the multi-vectors that stay float32.
        """
        path = self.part_file(number)
        draft = path.with_suffix(".draft")
        arrays = pack([halved(page, whole) for page in pages])
        with _named_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]  # one could be called allow_pickle
                file.flush()
                os.fsync(file.fileno())
            part = Part(tuple(map(str, arrays["ids"])), state, draft.stat().st_size, _sha256(draft))
            draft.replace(path)
        return part

    def write_beside(self, name: str, chunks: Iterable[bytes]) -> Beside | None:
        """Write a file that holds no pages, whole or not at all; one that has the same content is left alone.

        Args:
            name: Of the file.
            chunks: Its content; where there is none, no file of that name is there afterwards.
        """
        path = self.folder / name
        with _named_errors(path):
            draft = _draft_of(path, chunks)
            written = Beside(name, draft.stat().st_size, _sha256(draft))
            if written.bytes and not _is_as_written(path, written):
                draft.replace(path)
            elif not written.bytes:
                path.unlink(missing_ok=True)
            draft.unlink(missing_ok=True)
        return written if written.bytes else None

    def read_beside(self, name: str, contents: Contents) -> Iterator[bytes]:
        """The lines of a file that holds no pages; none where the export has no such file.

        Raises:
            StoreError: The file is missing or damaged; no line of it is given.
        """
        for beside in contents.beside:
            if beside.name == name:
                path = self.folder / name
                _require_as_written(path, beside)
                with path.open("rb") as file:
                    yield from file

    def holds(self, number: int, part: Part) -> bool:
        """Whether a part is there as it was written."""
        return _is_as_written(self.part_file(number), part)

    def read_part(self, number: int, part: Part) -> Iterator[ArchivedPage]:
        """The pages of a part, in order.

        Raises:
            StoreError: The part is missing or damaged; no page of it is given.
        """
        path = self.part_file(number)
        _require_as_written(path, part)
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            yield from unpack(arrays)
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise StoreError(f"{path} is no part of an export: {error}", "export again") from error

    def trim(self, parts: int) -> None:
        """Remove the parts of a larger export that was here before."""
        keep = {self.part_file(number) for number in range(parts)}
        for path in self.folder.glob("part-*"):
            if path not in keep:
                path.unlink()


def page_state(record: PageRecord, image_bytes: int) -> str:
    """A digest by which a page is known to be unchanged, from what costs little to read.

    Equal ids mean equal files; captions and titles may change, and an image tells by its size.

    Args:
        record: With `metadata`.
        image_bytes: Size of the page's image.
    """
    told = {key: value for key, value in record.payload["metadata"].items() if key not in _NAMES}
    text = json.dumps([record.id, told, image_bytes], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def state_of(pages: Iterable[str]) -> str:
    """One digest for many `page_state`."""
    return hashlib.sha256("".join(pages).encode()).hexdigest()


def _is_as_written(path: Path, told: Part | Beside) -> bool:
    return path.is_file() and path.stat().st_size == told.bytes and _sha256(path) == told.sha256


def _require_as_written(path: Path, told: Part | Beside) -> None:
    if not _is_as_written(path, told):
        fault = "does not have the checksum it was written with" if path.is_file() else "is missing"
        raise StoreError(f"{path} {fault}", "copy it again, or run the export again: it mends its files")


def _draft_of(path: Path, chunks: Iterable[bytes]) -> Path:
    """A file on the disk that needs only its name."""
    draft = path.with_suffix(".draft")
    path.parent.mkdir(parents=True, exist_ok=True)
    with draft.open("wb") as file:
        file.writelines(chunks)
        file.flush()
        os.fsync(file.fileno())
    return draft


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Gives errors of writing the names that docrag has for them."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull(f"no space left for {path}", "free some space and run again") from error
        raise StoreError(f"cannot write {path}: {error.strerror}", "choose another folder") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
