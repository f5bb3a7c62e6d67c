"""Build an index anew with other models or another layout, while the old one goes on answering."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from docrag.errors import IndexInUse, IndexMismatch, SettingsError, StoreError
from docrag.index.model_selection import choose_encoders, make_captioner, make_pipeline, make_read_options
from docrag.index.opening import fingerprint_for, open_parts
from docrag.ingest.report import IngestReport
from docrag.location.base import IndexLocation
from docrag.location.directory import locate, require_index
from docrag.settings import Settings, load_settings

if TYPE_CHECKING:
    from docrag.encode.encoders import Encoders
    from docrag.ingest.storage import Storage
    from docrag.ingest.sync import Listener
    from docrag.operations.rebuild import Lost
    from docrag.store.layout import Fingerprint

NO_MODEL = "none"
"""As the name of an image encoder: the index has none from now on."""


@dataclass(frozen=True, slots=True)
class Migration:
    """What a migration did."""

    uri: str
    switched: bool
    """False where the index was built as asked for already."""
    pages: int = 0
    """Of the new index."""
    report: IngestReport = field(default_factory=IngestReport)
    """What this run read; an earlier one that was stopped may have read the rest."""
    dropped: tuple[str, ...] = ()
    """Documents that were let go, in whole or in part, and why."""
    kept: str = ""
    """The old index, where it was kept."""


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
    """Read the files of an index again, with other models or another layout, and switch to what they give.

    Until the switch, searches are answered as before; what was stopped goes on with the same call. Two
    indexes are on the disk, or the server, meanwhile.

    Args:
        uri: The index; else as the settings say.
        late: Name of the late-interaction encoder; else the one that the index has. Likewise the others.
        image: Name of the image encoder; none leaves it out.
        text: Name of the encoder of captions.
        settings: Everything else, such as `pooling`, `datatype` and `keep_patches`.
        drop_missing: Whether pages that cannot be read again are let go.
        keep_old: Whether the old index is kept, beside the new one.
        passwords: Tried on encrypted documents.
        listener: Hears of every file when it is safely stored, and of progress in between.

    Raises:
        IndexNotFound: There is no index.
        IndexInUse: Another process is changing it; or one searches a directory, which only one can open.
        StoreError: Pages would be lost by the switch; the message names their files.
        SettingsError: A setting cannot be used.
    """
    flags = {"index": uri, "late": late, "image": image, "text": text}
    given = {name: str(value) for name, value in flags.items() if value is not None}
    settings = settings.model_copy(update=given) if settings else load_settings(**given)
    with _one_at_a_time(settings) as (location, stored):
        with closing(_encoders(settings, stored)) as encoders:
            asked = fingerprint_for(encoders, settings.datatype, stored)
            if _same(stored, asked):
                return Migration(location.uri, switched=False)
            _require_captions(settings, location)
            report, addressed = IngestReport(), _image_base_url(settings, location, stored)
            with closing(_draft(location, asked)) as draft:
                report = _read_again(settings, location, draft, encoders, addressed, passwords, listener)
                lost = _compare(settings, stored, draft, report)
                if lost and not drop_missing:
                    raise _refusal(location, lost)
                pages = draft.store.count()
        kept = _switch(settings, keep_old)
    return Migration(location.uri, True, pages, report, tuple(map(str, lost)), kept)


def abandon_migration(uri: str | os.PathLike[str] | None = None, *, settings: Settings | None = None) -> None:
    """Throw away what a migration has built so far; the index itself stays as it is.

    Args:
        uri: The index; else as the settings say.
        settings: Everything else.

    Raises:
        IndexNotFound: There is no index.
        IndexInUse: The migration, or an ingest, is going on.
    """
    given = {} if uri is None else {"index": str(uri)}
    settings = settings.model_copy(update=given) if settings else load_settings(**given)
    with _one_at_a_time(settings) as (location, _):
        location.abandon()


@contextmanager
def _one_at_a_time(settings: Settings) -> Iterator[tuple[IndexLocation, Fingerprint]]:
    """The location and what is there, which nobody changes meanwhile."""
    from docrag.ingest.manifest import Manifest
    from docrag.ingest.staging import MANIFEST

    with closing(locate(settings)) as location:
        stored = require_index(location)
        location.folder.mkdir(
            parents=True, exist_ok=True
        )  # missing where another machine filled the collection
        with closing(Manifest(location.folder / MANIFEST)) as manifest, manifest.alone():
            yield location, stored


def _encoders(settings: Settings, stored: Fingerprint) -> Encoders:
    from docrag.store.layout import Fingerprint

    if settings.image == NO_MODEL:
        without = Fingerprint({**stored.values, "image": None})
        return choose_encoders(settings.model_copy(update={"image": None}), without)
    return choose_encoders(settings, stored)


def _same(one: Fingerprint, other: Fingerprint) -> bool:
    from docrag.store.layout import require_equal

    try:
        require_equal(one, other)
    except IndexMismatch:
        return False
    return True


def _require_captions(settings: Settings, location: IndexLocation) -> None:
    """Captions of a vision model are dear: they are not left out because nobody thought of them.

    Raises:
        SettingsError: The index has some, and it was not said where captions come from.
    """
    from docrag.caption.cache import FILE

    if (location.folder / FILE).is_file() and "caption" not in settings.model_fields_set:
        raise SettingsError(
            "the index has captions of a vision model",
            "keep them: --caption vision, with its address and name; or leave them out: --caption text",
        )


def _image_base_url(settings: Settings, location: IndexLocation, stored: Fingerprint) -> str | None:
    """Where page images are served; a directory that another process has open is told early."""
    from docrag.ingest.image_urls import base_url_of

    if settings.image_base_url:
        return settings.image_base_url
    with _opened(settings, stored) as storage:
        return base_url_of(storage.store)


@contextmanager
def _opened(settings: Settings, stored: Fingerprint) -> Iterator[Storage]:
    """The old index, for a while, so that others can search it; other options are for the new one."""
    unasked = dict.fromkeys(("shards", "replicas", "write_consistency", "tenant"))
    with (
        closing(locate(settings.model_copy(update=unasked))) as location,
        closing(open_parts(location, stored, stored)) as storage,
    ):
        yield storage


def _draft(location: IndexLocation, asked: Fingerprint) -> Storage:
    """What was begun for these models; else a new one.

    What was begun for others is thrown away, and so are the remains of one that was being thrown away.
    """
    beside = location.staging()
    begun = beside.fingerprint()
    if begun is None or not _same(begun, asked):
        beside.close()
        location.abandon()
        beside, begun = location.staging(), None
    return open_parts(beside, begun, asked)


def _read_again(
    settings: Settings,
    location: IndexLocation,
    draft: Storage,
    encoders: Encoders,
    image_base_url: str | None,
    passwords: Sequence[str],
    listener: Listener | None,
) -> IngestReport:
    """Read what the draft has not yet of the files of the index."""
    from docrag.ingest.manifest import Manifest
    from docrag.ingest.staging import MANIFEST
    from docrag.ingest.sync import SyncOptions, apply_plan
    from docrag.operations.rebuild import plan_again

    draft.reconcile()
    with (
        closing(make_captioner(settings, location.folder)) as captioner,
        closing(Manifest(location.folder / MANIFEST)) as old,
    ):
        how = SyncOptions(
            make_pipeline=lambda base_url: make_pipeline(settings, encoders, captioner, base_url),
            options=make_read_options(settings, encoders.image_side, passwords),
            image_base_url=image_base_url,
            workers=settings.workers or None,
            listener=listener or (lambda event: None),
            prune=True,
        )
        return apply_plan(draft, plan_again(old, draft.manifest), how)


def _compare(settings: Settings, stored: Fingerprint, draft: Storage, report: IngestReport) -> list[Lost]:
    """What a switch would lose; who holds pages of the index holds them in the draft from here on."""
    from docrag.operations.rebuild import carry_claims, lost_pages

    with _opened(settings, stored) as old:
        carry_claims(old.store, draft.store)
        return lost_pages(old, draft, report.files)


def _refusal(location: IndexLocation, lost: Sequence[Lost]) -> StoreError:
    named = "; ".join(map(str, lost[:10])) + ("; ..." if len(lost) > 10 else "")
    pages = sum(one.pages for one in lost)
    return StoreError(
        f"{location.uri} stays as it is, for {pages} of its pages would be lost: {named}",
        "make them readable and run the same again, which reads only them; or let them go: --drop-missing",
    )


def _switch(settings: Settings, keep_old: bool) -> str:
    with closing(locate(settings)) as location:
        try:
            return location.switch(keep_old=keep_old)
        except IndexInUse as error:
            raise IndexInUse(
                f"all is read again, but {error.message}",
                "close the other process, and run the same again, which only switches",
            ) from error
