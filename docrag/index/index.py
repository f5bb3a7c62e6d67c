"""Index: what a user holds. It opens the stages and hands them to the flows: ingest, search and tuning.

`from docrag import Index` must be quick, so every method imports the flow that it needs when it is called.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from docrag.common.time_limit import patience
from docrag.errors import NotFound, StoreError
from docrag.types import Hit, IndexedDocument, IndexedPage, Mode, is_page_id

if TYPE_CHECKING:
    from langchain_core.retrievers import BaseRetriever
    from PIL.Image import Image

    from docrag.encode.encoders import Encoders
    from docrag.index.page_images import AnyPage
    from docrag.index.status import Status
    from docrag.ingest.removal import Removal
    from docrag.ingest.report import IngestReport
    from docrag.ingest.storage import Storage
    from docrag.ingest.sync import Listener
    from docrag.location.base import IndexLocation
    from docrag.search.filters import Filter
    from docrag.search.heatmap import Heatmap
    from docrag.search.label import LabelledPage
    from docrag.settings import Settings
    from docrag.tuning.tune import Tuning

RECOUNT_SECONDS = 60.0
"""After this long the pages are counted again, since other processes may write to the same server."""


class Index:
    """Pages of documents that can be searched. Open one with `Index.open`.

    >>> import tempfile
    >>> from docrag import Index
    >>> from docrag.demo import documents
    >>> with tempfile.TemporaryDirectory() as folder, Index.open(f"{folder}/index") as index:
    ...     report = index.ingest(documents() / "tarn12_manual.pdf")
    ...     hit = index.search("What do four red flashes mean?", k=1)[0]
    ...     print(hit.page, hit.regions[0].text.split()[:5], hit.image().size)
    4 ['Lamp', 'blinks', 'red', 'four', 'times'] (904, 1280)
    """

    def __init__(
        self, location: IndexLocation, storage: Storage, encoders: Encoders, settings: Settings
    ) -> None:
        self._location = location
        self._storage = storage
        self._encoders = encoders
        self._settings = settings
        self._page_count = PageCount(storage.store.count)
        self._pid = os.getpid()

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
        """Open an index, or create a new one.

        A migration that was interrupted while it switched to the new index is finished first.

        Args:
            uri: A directory, or a collection on a Qdrant server. The default is DOCRAG_INDEX, else
                ./docrag-index.
            late: Name of the late-interaction encoder.
            image: Name of the single-vector image encoder. The default is none.
            text: Name of the encoder for captions.
            create: Whether to create the index if it does not exist.
            settings: All other settings. By default they come from the environment and docrag.toml.

        Raises:
            SettingsError: A setting cannot be used.
            UnknownModel: No encoder has that name.
            IndexNotFound: There is no index, and `create` is false.
            IndexInUse: Another process holds the directory without sharing it (`in_process`).
            IndexMismatch: The index was built with other encoders.
        """
        from docrag.index.model_selection import choose_encoders, shared_encoders
        from docrag.index.opening import existing_fingerprint, open_storage
        from docrag.location.resolve import locate, require_index
        from docrag.settings import with_overrides

        overrides = {"index": uri, "late": late, "image": image, "text": text}
        settings = with_overrides(settings, overrides)
        location = locate(settings)
        try:
            location.recover()
            stored = existing_fingerprint(location) if create else require_index(location)
            encoders = choose_encoders(settings, stored)
            storage = open_storage(location, encoders, settings.datatype)
            return cls(location, storage, shared_encoders(settings, encoders, storage.store), settings)
        except BaseException:
            location.close()
            raise

    def search(
        self,
        query: str = "",
        k: int = 10,
        mode: Mode = "hybrid",
        filter: Filter | None = None,
        *,
        image: Image | str | os.PathLike[str] | None = None,
        audio: str | os.PathLike[str] | None = None,
        regions: bool = True,
    ) -> list[Hit]:
        """Find the pages that answer a query, best first.

        Args:
            query: A question or some words. A path or URL is treated as words, too.
            k: Number of pages, 1 or more.
            mode: hybrid, late, cosine or text.
            filter: Metadata that a page must have, such as {"file_name": "report.pdf"}. Several keys must all
                match; a list of values matches any of them. See docrag.search.filters for more.
            image: What the pages should look like, alone or together with words. Needs an encoder that takes
                images as queries.
            audio: A recording. Needs an encoder that takes recordings.
            regions: Whether hits say which parts of their pages match. Without, the vectors of these pages
                are not read, which saves most of the bytes that a server sends.

        Raises:
            QueryError: The query is empty, the mode or the filter cannot be used, or no encoder of the index
                takes such a query.
        """
        from docrag.search.answer import answer
        from docrag.search.query import make_query
        from docrag.search.stages import stages_for

        self._require_usable()
        request = make_query(query, image, audio, k, mode, filter, regions)
        stages = stages_for(self._location.folder, self._page_count)
        hits = answer(self._storage.store, self._storage.images, self._encoders, request, stages)
        return self._with_renderers(hits)

    async def asearch(self, query: str = "", **options: Any) -> list[Hit]:
        """The same as `search`, in a thread, so that an event loop is not blocked."""
        import asyncio

        return await asyncio.to_thread(self.search, query, **options)

    def heatmap(self, page_id: str, query: str) -> Heatmap:
        """How well each place on a page matches each word of a query.

        Raises:
            NotFound: The page is not in the index.
            QueryError: The query is empty, or the page has no vector with a position.
        """
        from docrag.search.heatmap import heatmap

        self._require_usable()
        return heatmap(self._storage.store, self._encoders, page_id, query)

    def label(
        self,
        labels: Sequence[str],
        *,
        template: str = "{}",
        filter: Filter | None = None,
    ) -> list[LabelledPage]:
        """Classify the pages with the image encoder of the index, without training (zero-shot).

        Args:
            labels: The possible labels, in any language that the encoder knows.
            template: The text in which a label is given to the encoder, such as "a scan of a {}".
            filter: Only label pages with these metadata values.

        Returns:
            One entry for each page, ordered by file and page.

        Raises:
            QueryError: There are no labels, or the index has no image encoder that compares texts.
        """
        from docrag.search.label import label_stored

        return label_stored(self._storage.store, self._encoders.image, labels, template, filter)

    def documents(self) -> list[IndexedDocument]:
        """The documents in the index, ordered by path."""
        from docrag.search.browse import documents

        return documents(self._storage.store)

    def pages(self, page_ids: Sequence[str]) -> list[IndexedPage]:
        """Pages in the order of their ids; ids that are not in the index are skipped.

        The neighbour of a page has the id `docrag.types.page_id(page.document_id, number)`.

        Args:
            page_ids: Page ids as hits name them. Any other text matches no page.
        """
        from docrag.search.browse import pages

        valid_ids = [page_id for page_id in page_ids if is_page_id(page_id)]
        return self._with_renderers(pages(self._storage.store, self._storage.images, valid_ids))

    def page(self, page_id: str) -> IndexedPage:
        """One page.

        Raises:
            NotFound: The page is not in the index.
        """
        for page in self.pages([page_id]):
            return page
        raise NotFound(f"no page {page_id} in the index", "use the id of a hit")

    def ingest(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        prune: bool = False,
        again: bool = False,
        passwords: Sequence[str] = (),
        listener: Listener | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> IngestReport:
        """Bring the index up to date with files and folders. Unchanged files cost almost nothing.

        Searches continue meanwhile. Only one thread of one process changes an index at a time. The others
        wait, and their listener is called with a `WaitingForWriter`.

        Args:
            paths: PDFs, images, and folders, which are searched recursively.
            prune: Whether to remove files of these folders from the index if they no longer exist.
            again: Whether to read unchanged files again, for example to get other captions or to retry pages
                that could not be read.
            passwords: Tried on encrypted documents.
            listener: Called for every file once it is safely stored, with progress in between, and with a
                `WaitingForWriter` if somebody else is changing the index.
            should_stop: Called frequently. When it returns true, everything encoded so far is stored and
                reported, the report says `stopped`, and the next ingest continues from there.

        Raises:
            NotFound: A path does not exist. Nothing is changed in that case.
            IndexInUse: This thread is changing the index already through another `Index`.
            IndexReplaced: A migration has replaced the index since it was opened.
            StoreError: The index cannot be written. Everything reported before is safe.
        """
        from docrag.index.model_selection import make_captioner, make_pipeline, make_read_options
        from docrag.ingest.sync import SyncOptions, sync

        settings = self._settings
        named = [paths] if isinstance(paths, str) or not isinstance(paths, Sequence) else paths
        with (
            self._page_count.changing(),
            patience(should_stop),
            closing(make_captioner(settings, self._location.folder)) as captioner,
        ):
            options = SyncOptions(
                make_pipeline=lambda addresses: make_pipeline(settings, self._encoders, captioner, addresses),
                reading=make_read_options(settings, self._encoders.image_side, passwords),
                image_base_url=settings.image_base_url,
                workers=settings.workers or None,
                listener=listener or (lambda event: None),
                prune=prune,
                again=again,
                should_stop=should_stop,
            )
            return sync(self._storage, [Path(path) for path in named], options)

    def remove(self, path: str | os.PathLike[str], *, should_stop: Callable[[], bool] | None = None) -> int:
        """Remove a file from the index. Its pages stay if the same content was ingested at another path.

        In a collection on a server, pages also stay as long as another machine holds them; `remove_file` says
        which one does.

        Args:
            path: The path as ingested, the path relative to the working directory, or the id of a document.
            should_stop: Called while somebody else is changing the index; when it returns true, waiting ends.
                None waits for any time.

        Returns:
            The number of pages that were removed.

        Raises:
            NotFound: No such file was ingested.
            IndexInUse: Waiting was ended by `should_stop`.
        """
        return self.remove_file(path, should_stop=should_stop).pages

    def remove_file(
        self,
        path: str | os.PathLike[str],
        *,
        release: Collection[str] = (),
        should_stop: Callable[[], bool] | None = None,
    ) -> Removal:
        """Remove a file from the index as `remove` does, and say which other machines hold its pages.

        Args:
            path: As for `remove`.
            release: Other machines whose claims on the document are given up as well, because they no longer
                exist; `status` names them.
            should_stop: As for `remove`.

        Raises:
            NotFound: No such file was ingested.
            SettingsError: `release` names a machine that holds no page of the index.
            IndexInUse: Waiting was ended by `should_stop`.
        """
        from docrag.ingest.removal import remove_file

        with self._page_count.changing():
            return remove_file(self._storage, path, release=release, should_stop=should_stop)

    def release(self, holder: str, *, should_stop: Callable[[], bool] | None = None) -> int:
        """Give up everything that another machine holds in the collection, because it no longer exists.

        Args:
            holder: The name of the machine, as `status` gives it.
            should_stop: As for `remove`.

        Returns:
            The number of pages that were removed: those that no other machine holds.

        Raises:
            SettingsError: No other machine of that name holds pages, or the index is a directory.
            IndexInUse: Waiting was ended by `should_stop`.
        """
        from docrag.ingest.removal import release_holder

        with self._page_count.changing():
            return release_holder(self._storage, holder, should_stop=should_stop)

    def tune(
        self,
        questions: Sequence[str] = (),
        *,
        recall: float = 0.98,
        compare: bool = False,
        write: bool = True,
    ) -> Tuning:
        """Measure how few pages need an exact comparison, and search that way from now on.

        Args:
            questions: Questions that people ask. By default headings and paragraphs of the pages are used.
            recall: Share of the ten best pages of exact search that must be found, 0..1.
            compare: Whether to also try other poolings, datatypes and quantizations on a sample.
            write: Whether to keep the chosen plan with the index.

        Raises:
            StoreError: There are too few pages to tune, or nothing to ask.
        """
        from docrag.search.stages import TunedPlan, save_plan
        from docrag.tuning.tune import tune

        tuning = tune(self._storage.store, self._encoders, questions, recall, compare=compare)
        if write and tuning.chosen:
            save_plan(self._location.folder, TunedPlan(tuning.chosen.stages, tuning.measured()))
        return tuning

    def as_retriever(self, **fields: Any) -> BaseRetriever:
        """A LangChain retriever over this index, which stays open when the retriever is closed.

        Args:
            fields: Fields of `langchain_docrag.DocragRetriever`: k, mode, filter, neighbours,
                group_by_document and others.
        """
        # Integrations import docrag, never the other way round, so this one is looked up by name.
        retriever: BaseRetriever = import_module("langchain_docrag").DocragRetriever(index=self, **fields)
        return retriever

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The models that the index is built with, and everything else that decides its vectors."""
        return self._encoders.fingerprint()

    @property
    def changes(self) -> Hashable:
        """A value that differs whenever the documents may have changed, through whichever process.

        On a Qdrant server, only changes by this process are known. For a directory this costs a message to
        the engine's process, about 0.1 ms.
        """
        return self._storage.store.version(), self._page_count.changes

    @property
    def dashboard(self) -> str:
        """The address of the collection in Qdrant's dashboard; empty for a directory."""
        return self._location.dashboard

    @property
    def image_base_url(self) -> str | None:
        """The base URL under which the pages name their images; None if there are no pages."""
        return self._storage.image_base_url()

    def status(self) -> Status:
        """What the index holds."""
        from docrag.index.status import status_of

        return status_of(self._location, self._storage, self._encoders)

    def require_current(self) -> None:
        """Refuse a handle whose index a migration has replaced since it was opened.

        Raises:
            IndexReplaced: It was replaced, perhaps by another machine. A search here is still answered by the
                old index as long as that one exists.
            IndexNotFound: The index is gone from its address.
        """
        self._storage.require_current()

    def reopened(self) -> Index:
        """Open the index at this address again, with the models that it is built with now.

        Raises:
            IndexNotFound: The index is gone from its address.
        """
        from docrag.settings import INDEX_OPTIONS

        as_it_is: dict[str, Any] = dict.fromkeys(INDEX_OPTIONS)
        settings = self._settings.model_copy(update={**as_it_is, "index": self._location.address})
        return type(self).open(settings=settings, create=False)

    def close(self) -> None:
        """Flush what was written through this handle, and close it; closing twice is harmless."""
        self._encoders.close()
        self._storage.close()

    def __reduce__(self) -> tuple[Callable[[Settings], Index], tuple[Settings]]:
        """Pickle the address and the settings: the copy is opened where it is unpickled.

        The settings include keys, if there are any.
        """
        return _reopen, (self._settings.model_copy(update={"index": self._location.address}),)

    def _with_renderers(self, pages: Sequence[AnyPage]) -> list[AnyPage]:
        """The pages; those whose images are on another machine make them when they are asked for."""
        if all(page.image_path is None or page.image_path.is_file() for page in pages):
            return list(pages)
        from docrag.index.model_selection import make_read_options
        from docrag.index.page_images import with_renderers

        options = make_read_options(self._settings, self._encoders.image_side, ())
        return list(with_renderers(self._storage, pages, options))

    def _require_usable(self) -> None:
        """Refuse a handle in a child of its process, unless all the work is done in another process.

        Raises:
            StoreError: The models, or the connection to a server, were made before the fork. Their threads
                are not in this process, which would wait for them for ever.
        """
        if os.getpid() != self._pid and self._encoders.remote is None:
            raise StoreError(
                f"the index {self._location.uri} was opened in the process that this one was forked from",
                "open it after the fork; an index in a directory may be opened before, unless in_process is "
                "set or shared_encoder is off",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _reopen(settings: Settings) -> Index:
    """Open an index again that was pickled."""
    return Index.open(settings=settings, create=False)


class PageCount:
    """The number of pages in an open index, counted again only when it may have changed.

    Args:
        count: Counts the pages. This takes 0.2 ms in the embedded engine and a request on a server.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._pages = 0
        self._counted_at: float | None = None
        self.changes = 0
        """How often this process has changed the pages."""

    def __call__(self) -> int:
        """The number of pages, at most RECOUNT_SECONDS old unless this process has changed them since."""
        now = time.monotonic()
        counted_at = self._counted_at
        if counted_at is None or now - counted_at > RECOUNT_SECONDS:
            self._pages = self._count()
            self._counted_at = now
        return self._pages

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Mark a stretch of time in which pages are added or removed."""
        try:
            yield
        finally:
            self._counted_at = None
            self.changes += 1
