"""Build an index again with other models or another layout, while the old one keeps answering."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from docrag.caption.cache import FILE
from docrag.common.time_limit import patience
from docrag.errors import IndexInUse, SettingsError, StoreError
from docrag.index.model_selection import choose_encoders, make_captioner, make_pipeline, make_read_options
from docrag.index.opening import fingerprint_for, open_parts
from docrag.ingest.manifest import FileRow, Manifest
from docrag.ingest.report import FileReport, IngestReport
from docrag.ingest.staging import MANIFEST, Staging
from docrag.ingest.storage import report_wait
from docrag.ingest.sync import IngestPlan, SyncOptions, apply_plan, make_plan
from docrag.location.resolve import locate, require_index
from docrag.read.files import sha256
from docrag.settings import Settings, with_overrides
from docrag.store.base import Shared, Store
from docrag.store.layout import Fingerprint, is_equal

if TYPE_CHECKING:
    from docrag.encode.encoders import Encoders
    from docrag.ingest.storage import Storage
    from docrag.ingest.sync import Listener
    from docrag.location.base import IndexLocation

logger = logging.getLogger(__name__)

NO_MODEL = "none"
"""As the name of an image encoder: the new index has none."""


@dataclass(frozen=True, slots=True)
class Migration:
    """What a migration did."""

    uri: str
    switched: bool
    """False if the index was already built as asked for."""
    pages: int = 0
    """Pages of the new index."""
    report: IngestReport = field(default_factory=IngestReport)
    """What this run read. An earlier run that was stopped may have read the rest."""
    dropped: tuple[str, ...] = ()
    """Documents that were dropped, in whole or in part, and why."""
    kept: str = ""
    """The address of the old index, if it was kept."""


@dataclass(frozen=True, slots=True)
class LostDocument:
    """A document of the index that the staged index lacks, or of which it has fewer pages."""

    source: str
    pages: int
    """How many pages are missing."""
    reason: str

    def __str__(self) -> str:
        return f"{self.source} ({self.pages} page{'s' if self.pages > 1 else ''}): {self.reason}"


@patience()
def migrate_index(
    uri: str | os.PathLike[str] | None = None,
    *,
    late: str | None = None,
    image: str | None = None,
    text: str | None = None,
    settings: Settings | None = None,
    drop_missing: bool = False,
    keep_old: bool = False,
    passwords: Sequence[str] = (),
    listener: Listener | None = None,
) -> Migration:
    """Read the files of an index again, with other models or another layout, and switch to the result.

    Until the switch, searches are answered as before. A migration that was interrupted continues with the
    same call. Meanwhile both indexes take space on the disk or the server.

    Args:
        uri: The index. The default comes from the settings.
        late: Name of the late-interaction encoder. By default the one that the index has; likewise below.
        image: Name of the image encoder; "none" leaves it out.
        text: Name of the encoder for captions.
        settings: Everything else, such as `pooling`, `datatype` and `keep_patches`.
        drop_missing: Whether pages that cannot be read again are dropped.
        keep_old: Whether to keep the old index beside the new one.
        passwords: Tried on encrypted documents.
        listener: Called for every file once it is safely stored, with progress in between, and with a
            `WaitingForWriter` if somebody else is changing the index, whom this waits for.

    Raises:
        IndexNotFound: There is no index.
        IndexInUse: A process holds the directory without sharing it (`in_process`). Or a process was killed
            while a migration replaced the index, and did not finish.
        StoreError: The switch would lose pages; the message names their files.
        SettingsError: A setting cannot be used.
    """
    settings = with_overrides(settings, {"index": uri, "late": late, "image": image, "text": text})
    with _locked(settings, listener=listener) as (location, stored):
        with closing(_choose_encoders(settings, stored)) as encoders:
            target = fingerprint_for(encoders, settings.datatype, stored)
            if is_equal(stored, target):
                return Migration(location.uri, switched=False)
            _require_captions(settings, location)
            base_url = _image_base_url(settings, stored)
            with closing(_open_staging(location, target)) as staged:
                report = _read_again(settings, location, staged, encoders, base_url, passwords, listener)
                lost = _find_lost(settings, stored, staged, report)
                if lost and not drop_missing:
                    raise _refusal(location, lost)
                pages = staged.store.count()
        old_index = _switch(settings, keep_old=keep_old)
    logger.info("%s was migrated: %d pages, %d documents dropped", location.uri, pages, len(lost))
    return Migration(location.uri, True, pages, report, tuple(str(document) for document in lost), old_index)


def abandon_migration(uri: str | os.PathLike[str] | None = None, *, settings: Settings | None = None) -> None:
    """Delete what a migration has built so far. The index itself stays as it is.

    Args:
        uri: The index. The default comes from the settings.
        settings: Everything else.

    Raises:
        IndexNotFound: There is no index.
        IndexInUse: The migration, or an ingest, is running.
    """
    with _locked(with_overrides(settings, {"index": uri}), wait=False) as (location, _):
        location.abandon()


@contextmanager
def _locked(
    settings: Settings, *, listener: Listener | None = None, wait: bool = True
) -> Iterator[tuple[IndexLocation, Fingerprint]]:
    """The location of the index and its fingerprint, while nobody else can change the index.

    Args:
        settings: They name the index.
        listener: Called if this has to wait. If it is None, a warning in the log says for whom.
        wait: Whether to wait if somebody else is changing the index.

    Raises:
        IndexInUse: Somebody else is changing the index, and this does not wait. Or a process was killed while
            a migration replaced the index.
    """
    with closing(locate(settings)) as location:
        location.recover()
        require_index(location)
        # The directory is missing if another machine filled the collection.
        location.folder.mkdir(parents=True, exist_ok=True)
        report = partial(report_wait, location.folder, listener)
        with closing(Manifest(location.folder / MANIFEST)) as manifest:
            lock = manifest.wait_for_turn(on_wait=report) if wait else manifest.exclusive()
            assert lock is not None, "nothing ends this wait"
            with lock:
                if Staging(location.folder).decision() is not None:
                    raise IndexInUse(
                        f"a migration is replacing the index in {location.folder}",
                        "run the same again, which finishes it first",
                    )
                yield location, require_index(location)  # whoever wrote before may have migrated it


def _choose_encoders(settings: Settings, stored: Fingerprint) -> Encoders:
    if settings.image == NO_MODEL:
        without_image = Fingerprint({**stored.values, "image": None})
        return choose_encoders(settings.model_copy(update={"image": None}), without_image)
    return choose_encoders(settings, stored)


def _require_captions(settings: Settings, location: IndexLocation) -> None:
    """Captions of a vision model are expensive, so they are not left out just because nobody mentioned them.

    Raises:
        SettingsError: The index has such captions, and the settings do not say where captions come from.
    """
    if (location.folder / FILE).is_file() and "caption" not in settings.model_fields_set:
        raise SettingsError(
            "the index has captions of a vision model",
            "keep them: --caption vision, with its address and name; or leave them out: --caption text",
        )


def _image_base_url(settings: Settings, stored: Fingerprint) -> str | None:
    """The base URL of page images.

    It is read from the old index unless it is set. This also reports early that another process holds it and
    does not share it.
    """
    if settings.image_base_url:
        return settings.image_base_url
    with _old_index(settings, stored) as storage:
        return storage.image_base_url()


@contextmanager
def _old_index(settings: Settings, stored: Fingerprint) -> Iterator[Storage]:
    """The old index, opened only for a while, so that it is not held while the files are read again."""
    # Options of the collection are meant for the new index.
    own_options = dict.fromkeys(("shards", "replicas", "write_consistency", "tenant"))
    with (
        closing(locate(settings.model_copy(update=own_options))) as location,
        closing(open_parts(location, stored, stored)) as storage,
    ):
        yield storage


def _open_staging(location: IndexLocation, target: Fingerprint) -> Storage:
    """The index that was begun with this fingerprint, or a new one.

    An index that was begun with another fingerprint is deleted, and so are remains of a deletion that was
    interrupted.
    """
    staging = location.staging()
    begun = staging.fingerprint()
    if begun is not None and is_equal(begun, target):
        logger.info("continuing the migration of %s", location.uri)
        return open_parts(staging, begun, target)
    staging.close()
    location.abandon()
    return open_parts(location.staging(), None, target)


def _read_again(
    settings: Settings,
    location: IndexLocation,
    staged: Storage,
    encoders: Encoders,
    image_base_url: str | None,
    passwords: Sequence[str],
    listener: Listener | None,
) -> IngestReport:
    """Read those files of the index that the staged index does not have yet."""
    staged.reconcile()
    with (
        closing(make_captioner(settings, location.folder)) as captioner,
        closing(Manifest(location.folder / MANIFEST)) as old,
    ):
        options = SyncOptions(
            make_pipeline=lambda addresses: make_pipeline(settings, encoders, captioner, addresses),
            reading=make_read_options(settings, encoders.image_side, passwords),
            image_base_url=image_base_url,
            workers=settings.workers or None,
            listener=listener or (lambda event: None),
            prune=True,
        )
        return apply_plan(staged, plan_rebuild(old, staged.manifest), options)


def plan_rebuild(old: Manifest, staged: Manifest) -> IngestPlan:
    """What is left to read of the files of an index, each under the path at which it was ingested.

    Args:
        old: The manifest of the index.
        staged: The manifest of the staged index: what was read again already.
    """
    sources = {file.path: file.source for file in old.files()}
    plan = make_plan((), [Path(path) for path in sources], staged, sha256)
    plan.contents = {
        document_id: _with_sources(files, sources) for document_id, files in plan.contents.items()
    }
    plan.known = _with_sources(plan.known, sources)
    plan.touched = _with_sources(plan.touched, sources)
    # A file that vanished after it was read again is no loss: its pages are in the staged index.
    plan.failed = [(sources[path], error) for path, error in plan.failed if staged.file(path) is None]
    plan.gone = [file for file in staged.files() if file.path not in sources]
    return plan


def _with_sources(files: Sequence[FileRow], sources: Mapping[str, str]) -> list[FileRow]:
    return [replace(file, source=sources[file.path]) for file in files]


def _find_lost(
    settings: Settings, stored: Fingerprint, staged: Storage, report: IngestReport
) -> list[LostDocument]:
    """What a switch would lose.

    Whoever holds pages of the old index holds them in the staged one from here on.
    """
    with _old_index(settings, stored) as old:
        carry_claims(old.store, staged.store)
        return lost_documents(old, staged, report.files)


def lost_documents(old: Storage, staged: Storage, reports: Sequence[FileReport]) -> list[LostDocument]:
    """The documents of which a switch to the staged index would lose pages.

    A file whose content changed is not lost: its new pages take the place of the old ones, as in any ingest.

    Args:
        old: The index.
        staged: The index built from its files.
        reports: From reading the files; they say why something is missing.
    """
    staged_pages = _pages_by_document(staged.store)
    lost = []
    for document_id, (pages, source) in _pages_by_document(old.store).items():
        staged_count, _ = staged_pages.get(document_id, (0, ""))
        files = old.manifest.files(document_id)
        if pages <= staged_count or _is_left_over(old.manifest, document_id, files):
            continue
        if not _has_new_content(files, staged):
            reason = _reason(document_id, files, staged.manifest, reports)
            lost.append(LostDocument(source, pages - staged_count, reason))
    return sorted(lost, key=lambda document: document.source)


def carry_claims(old: Store, staged: Store) -> None:
    """Let everybody who holds pages of a collection hold them in the staged collection as well."""
    if isinstance(old, Shared) and isinstance(staged, Shared):
        documents: dict[frozenset[str], list[str]] = {}
        for document_id, holders in old.holders():
            documents.setdefault(holders, []).append(document_id)
        for holders, document_ids in documents.items():
            if holders - {staged.holder}:
                staged.hold(document_ids, holders)


def _pages_by_document(store: Store) -> dict[str, tuple[int, str]]:
    """By document id: the number of its pages in a store, and one of its paths."""
    documents: dict[str, tuple[int, str]] = {}
    for record in store.scroll(payload=["metadata.document_id", "metadata.source"]):
        metadata = record.payload["metadata"]
        pages, _ = documents.get(metadata["document_id"], (0, ""))
        documents[metadata["document_id"]] = (pages + 1, metadata["source"])
    return documents


def _is_left_over(manifest: Manifest, document_id: str, files: Sequence[FileRow]) -> bool:
    """Whether an ingest that was killed left the document half written or half removed."""
    return manifest.document(document_id) is not None and not files


def _has_new_content(files: Sequence[FileRow], staged: Storage) -> bool:
    """Whether all files of a document have another content by now, which the staged index has."""
    if not files:
        return False
    staged_files = [staged.manifest.file(file.path) for file in files]
    return all(
        new is not None and new.document_id != file.document_id
        for file, new in zip(files, staged_files, strict=True)
    )


def _reason(
    document_id: str, files: Sequence[FileRow], staged: Manifest, reports: Sequence[FileReport]
) -> str:
    """Why pages of a document are missing in the staged index."""
    if not files:
        return "it was not ingested from here"
    sources = {file.source for file in files}
    for report in reports:
        if report.file in sources and report.error:
            return report.error
    document = staged.document(document_id)
    return (document.lost if document else "") or "its pages could not be read again"


def _refusal(location: IndexLocation, lost: Sequence[LostDocument]) -> StoreError:
    listed = "; ".join(str(document) for document in lost[:10]) + ("; ..." if len(lost) > 10 else "")
    pages = sum(document.pages for document in lost)
    return StoreError(
        f"{location.uri} stays as it is, because {pages} of its pages would be lost: {listed}",
        "make these files readable and run the same again, which reads only them; or use --drop-missing",
    )


def _switch(settings: Settings, *, keep_old: bool) -> str:
    with closing(locate(settings)) as location:
        try:
            return location.switch(keep_old=keep_old)
        except IndexInUse as error:
            raise IndexInUse(
                f"every file has been read again, but {error.message}",
                f"close it in {error.holder or 'that process'}, and run the same again, which only switches",
            ) from error
