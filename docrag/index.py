"""Index: what a user holds. It opens the stages and gives them to the two flows, ingest and search."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from docrag.errors import IndexNotFound, NotFound, SettingsError, StoreError
from docrag.ingest.manifest import Manifest
from docrag.ingest.report import IngestReport
from docrag.settings import Settings, load_settings
from docrag.types import Hit, Mode

if TYPE_CHECKING:
    from docrag.encode.encoders import Encoders
    from docrag.ingest.shelf import Shelf
    from docrag.ingest.sync import Listener
    from docrag.store.layout import Fingerprint


FINGERPRINT = "fingerprint.json"
DEFAULT_ENCODER = "minilm"
DEFAULT_LANGUAGE = "english"


@dataclass(frozen=True, slots=True)
class Status:
    """What an index holds."""

    uri: str
    documents: int
    files: int
    pages: int
    disk_bytes: int
    fingerprint: Mapping[str, Any]
    incomplete: tuple[str, ...]
    """Files of which some pages could not be read, with the reason."""


class Index:
    """Pages of documents that can be searched; make one with `Index.open`.

    >>> import tempfile
    >>> from docrag import Index
    >>> from docrag.demo import documents
    >>> with tempfile.TemporaryDirectory() as folder, Index.open(f"{folder}/index") as index:
    ...     report = index.ingest(documents() / "tarn12_manual.pdf")
    ...     hit = index.search("What do four red flashes mean?", k=1)[0]
    ...     print(hit.page, hit.regions[0].text.split()[:5], hit.image().size)
    4 ['Lamp', 'blinks', 'red', 'four', 'times'] (904, 1280)
    """

    def __init__(self, home: Path, shelf: Shelf, encoders: Encoders, settings: Settings) -> None:
        self._home = home
        self._shelf = shelf
        self._encoders = encoders
        self._settings = settings

    @classmethod
    def open(
        cls,
        uri: str | os.PathLike[str] | None = None,
        *,
        late: str | None = None,
        image: str | None = None,
        text: str | None = None,
        create: bool = True,
        settings: Settings | None = None,
    ) -> Self:
        """Open an index, or make a new one.

        Args:
            uri: A directory; by default DOCRAG_INDEX, else ./docrag-index.
            late: Name of the late-interaction encoder.
            image: Name of the single-vector image encoder, if any.
            text: Name of the encoder of captions.
            create: Whether an index that is not there is made.
            settings: Everything else that can be set; by default from the environment and docrag.toml.

        Raises:
            SettingsError: A setting cannot be used.
            UnknownModel: No encoder goes by that name.
            IndexNotFound: Nothing is there, and create is false.
            IndexInUse: Another process holds it.
            IndexMismatch: It was built by other encoders.
        """
        flags = {"index": uri, "late": late, "image": image, "text": text}
        given = {name: str(value) for name, value in flags.items() if value is not None}
        settings = settings.model_copy(update=given) if settings else load_settings(**given)
        home = _directory(settings.index)
        encoders = _encoders(settings, _stored_fingerprint(home, create=create))
        return cls(home, _open_shelf(home, encoders), encoders, settings)

    def ingest(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        prune: bool = False,
        passwords: Sequence[str] = (),
        listener: Listener | None = None,
    ) -> IngestReport:
        """Bring the index up to date with files and folders; what did not change costs nothing.

        Args:
            paths: PDFs, images, and folders that are walked.
            prune: Whether to remove the files of these folders that are gone.
            passwords: Tried on encrypted documents.
            listener: Hears of every file when it is safely stored, and of progress in between.

        Raises:
            NotFound: A path does not exist; nothing is changed then.
            StoreError: The index cannot be written; what was reported before is safe.
        """
        from docrag.caption import NoCaptioner, TextLayerCaptioner
        from docrag.ingest.pipeline import Pipeline
        from docrag.ingest.sync import sync
        from docrag.read.jobs import ReadOptions

        settings = self._settings
        named = [paths] if isinstance(paths, str) or not isinstance(paths, Sequence) else paths
        captioner = TextLayerCaptioner() if settings.caption == "text" else NoCaptioner()
        options = ReadOptions(
            image_side=max(settings.render_side, self._encoders.image_side),
            page_timeout=settings.page_timeout,
            ocr=settings.ocr,
            passwords=tuple(passwords),
        )
        return sync(
            self._shelf,
            [Path(path) for path in named],
            make_pipeline=lambda: Pipeline(self._encoders, captioner, settings.image_base_url),
            options=options,
            workers=settings.workers or None,
            prune=prune,
            listener=listener or (lambda event: None),
        )

    def search(
        self, query: str, k: int = 10, mode: Mode = "hybrid", filter: Mapping[str, str | int] | None = None
    ) -> list[Hit]:
        """The pages that answer a query, best first.

        Args:
            query: A question or some words.
            k: How many pages, 1 or more.
            mode: hybrid, late, cosine or text.
            filter: Metadata values that a page must have, all of them, such as {"file_name": "report.pdf"}.

        Raises:
            QueryError: The query is empty, or the mode or the filter cannot be used.
        """
        from docrag.search.answer import answer

        return answer(self._shelf.store, self._shelf.images, self._encoders, query, k, mode, filter)

    async def asearch(
        self, query: str, k: int = 10, mode: Mode = "hybrid", filter: Mapping[str, str | int] | None = None
    ) -> list[Hit]:
        """The same as search, in a thread, so that an event loop goes on meanwhile."""
        return await asyncio.to_thread(self.search, query, k, mode, filter)

    def remove(self, path: str | os.PathLike[str]) -> int:
        """Forget a file; its pages go unless the same content stands at another path too.

        Args:
            path: The path as ingested, or as seen from the working directory.

        Returns:
            How many pages were removed.

        Raises:
            NotFound: No such file was ingested.
        """
        manifest = self._shelf.manifest
        absolute = os.path.abspath(path)  # noqa: PTH100 (links are sources of their own)
        files = manifest.files()
        rows = [row for row in files if row.path == absolute] or [
            row for row in files if row.source == str(path)
        ]
        if not rows:
            raise NotFound(f"{path} is not in the index", "give the path as it was ingested")
        before = self._shelf.store.count()
        manifest.forget([row.path for row in rows])
        self._shelf.settle()
        return before - self._shelf.store.count()

    def status(self) -> Status:
        """What the index holds."""
        manifest = self._shelf.manifest
        return Status(
            uri=str(self._home),
            documents=len([row for row in manifest.documents() if row.state != "writing"]),
            files=len(manifest.files()),
            pages=self._shelf.store.count(),
            disk_bytes=sum(file.stat().st_blocks * 512 for file in self._home.rglob("*") if file.is_file()),
            fingerprint=self._encoders.fingerprint(),
            incomplete=tuple(f"{row.source}: {row.lost}" for row in manifest.documents() if row.lost),
        )

    def close(self) -> None:
        """Let go of the index, so that another process can open it."""
        self._shelf.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _directory(uri: str) -> Path:
    if "://" in uri:
        raise SettingsError(f"{uri}: only directories can hold an index yet", "--index ./docrag-index")
    return Path(uri).expanduser()


def _stored_fingerprint(home: Path, *, create: bool) -> Fingerprint | None:
    """What the index at a place was built with; None where a new one is to be made."""
    from docrag.store.layout import Fingerprint

    told = home / FINGERPRINT
    if told.is_file():
        return Fingerprint.from_json(told.read_text())
    if not create:
        raise IndexNotFound(f"there is no index at {home}", f"make one: docrag ingest FOLDER --index {home}")
    return None


def _encoders(settings: Settings, stored: Fingerprint | None) -> Encoders:
    """The encoders that were asked for, else those that the index was built with, else minilm."""
    from docrag.encode.encoders import load_encoders

    built: Mapping[str, Any] = stored.values if stored else {}

    def name(asked: str | None, kind: str, default: str | None) -> str | None:
        return asked or (built.get(kind) or {}).get("family") or default

    return load_encoders(
        late=name(settings.late, "late", DEFAULT_ENCODER) or DEFAULT_ENCODER,
        image=name(settings.image, "image", None),
        text=name(settings.text, "text", DEFAULT_ENCODER) or DEFAULT_ENCODER,
        language=settings.language or (built.get("bm25") or {}).get("language") or DEFAULT_LANGUAGE,
    )


def _open_shelf(home: Path, encoders: Encoders) -> Shelf:
    """Open or make the three parts of an index; the points come first since they hold the lock."""
    from docrag.ingest.shelf import Shelf
    from docrag.store.edge import EdgeStore
    from docrag.store.images import PageImages
    from docrag.store.layout import LAYOUT_VERSION, Fingerprint, Layout, require_equal

    asked = Fingerprint({"layout": LAYOUT_VERSION, **encoders.fingerprint()})
    image_dim = encoders.image.spec.dim if encoders.image else None
    layout = Layout.for_dims(late=encoders.late.spec.dim, image=image_dim, text=encoders.text.spec.dim)
    stored = _stored_fingerprint(home, create=True)
    if stored is None:
        _make_home(home, asked.to_json())
    else:
        require_equal(stored, asked)
    points = home / "points"
    # A process that was killed between the two left a fingerprint without points.
    store = EdgeStore.open(points, layout) if points.exists() else EdgeStore.create(points, layout)
    return Shelf(store, PageImages(home / "images"), Manifest(home / "manifest.sqlite"))


def _make_home(home: Path, fingerprint: str) -> None:
    """Make the directory, with the fingerprint whole or not at all.

    Raises:
        StoreError: There is something else in the directory, or it cannot be written.
    """
    if home.exists() and (not home.is_dir() or any(not name.name.startswith(".") for name in home.iterdir())):
        raise StoreError(f"{home} exists and is no index", "name a directory that is empty or not there yet")
    try:
        home.mkdir(parents=True, exist_ok=True)
        draft = home / ".fingerprint.json"
        draft.write_text(fingerprint)
        draft.replace(home / FINGERPRINT)
    except OSError as error:
        raise StoreError(f"cannot write {home}: {error.strerror}", "choose another --index") from error
