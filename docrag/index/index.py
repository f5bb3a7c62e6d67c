"""Index: what a user holds. It opens the stages and gives them to the two flows, ingest and search."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from docrag.index.model_selection import choose_encoders, make_captioner, make_pipeline, make_read_options
from docrag.index.opening import open_storage
from docrag.index.reader import Reader
from docrag.ingest.report import IngestReport
from docrag.location.directory import locate, require_index
from docrag.settings import Settings, load_settings

if TYPE_CHECKING:
    from langchain_docrag import DocragRetriever

    from docrag.ingest.sync import Listener
    from docrag.tuning.tune import Tuning


class Index(Reader):
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
            uri: A directory, or a collection on a Qdrant server; else DOCRAG_INDEX, else ./docrag-index.
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
        location = locate(settings)
        try:
            encoders = choose_encoders(
                settings, location.fingerprint() if create else require_index(location)
            )
            return cls(location, open_storage(location, encoders, settings.datatype), encoders, settings)
        except BaseException:
            location.close()
            raise

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
        """Bring the index up to date with files and folders; what did not change costs nothing.

        Searches go on meanwhile. One thread at a time changes an index: others wait for their turn.

        Args:
            paths: PDFs, images, and folders that are walked.
            prune: Whether to remove the files of these folders that are gone.
            again: Whether to read files that did not change, too: for other captions, or for lost pages.
            passwords: Tried on encrypted documents.
            listener: Hears of every file when it is safely stored, and of progress in between.
            should_stop: Asked all the time; when it says yes, what is encoded is stored and told, the report
                says `stopped`, and the next ingest goes on from there.

        Raises:
            NotFound: A path does not exist; nothing is changed then.
            StoreError: The index cannot be written; what was reported before is safe.
        """
        from docrag.ingest.sync import SyncOptions, sync

        settings = self._settings
        named = [paths] if isinstance(paths, str) or not isinstance(paths, Sequence) else paths
        with self._pages.changing(), closing(make_captioner(settings, self._location.folder)) as captioner:
            how = SyncOptions(
                make_pipeline=lambda base_url: make_pipeline(settings, self._encoders, captioner, base_url),
                options=make_read_options(settings, self._encoders.image_side, passwords),
                image_base_url=settings.image_base_url,
                workers=settings.workers or None,
                listener=listener or (lambda event: None),
                prune=prune,
                again=again,
                should_stop=should_stop,
            )
            return sync(self._storage, [Path(path) for path in named], how)

    def tune(
        self,
        questions: Sequence[str] = (),
        *,
        recall: float = 0.98,
        compare: bool = False,
        write: bool = True,
    ) -> Tuning:
        """Measure how few pages need exact comparison, and search so from now on where enough is found.

        Args:
            questions: What people ask; by default headings and paragraphs of the pages.
            recall: Share of the exact ten best pages that must be found.
            compare: Whether other poolings, datatypes and quantizations are tried too, on a sample.
            write: Whether what is chosen is kept with the index.

        Raises:
            StoreError: There are too few pages to tune, or nothing to ask.
        """
        from docrag.tuning.plan import TunedPlan, save_plan
        from docrag.tuning.tune import tune

        tuning = tune(self._storage.store, self._encoders, questions, recall, compare=compare)
        if write and tuning.chosen:
            save_plan(self._location.folder, TunedPlan(tuning.chosen.stages, tuning.measured()))
        return tuning

    def remove(self, path: str | os.PathLike[str]) -> int:
        """Forget a file; its pages go unless the same content stands at another path too.

        Args:
            path: The path as ingested, or as seen from the working directory; or the id of a document.

        Returns:
            SyncOptions many pages were removed.

        Raises:
            NotFound: No such file was ingested.
        """
        with self._pages.changing():
            return self._storage.forget(path)

    def as_retriever(self, **fields: Any) -> DocragRetriever:
        """A LangChain retriever over the index, which stays open when the retriever is closed.

        Args:
            fields: Of `langchain_docrag.DocragRetriever`: k, mode, filter, neighbours, group_by_document...
        """
        from langchain_docrag import DocragRetriever

        return DocragRetriever(index=self, **fields)
