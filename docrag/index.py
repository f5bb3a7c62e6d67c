"""Index: what a user holds. It opens the stages and gives them to the two flows, ingest and search."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from docrag.choice import captioner_of, choose_encoders, pipeline_of, read_options_of
from docrag.errors import NotFound
from docrag.ingest.report import IngestReport
from docrag.opening import open_shelf
from docrag.place import Place, place_of, require_index
from docrag.settings import Settings, load_settings
from docrag.status import Status, status_of
from docrag.types import Hit, IndexedDocument, IndexedPage, Mode, is_page_id

if TYPE_CHECKING:
    from langchain_docrag import DocragRetriever
    from PIL.Image import Image

    from docrag.encode.encoders import Encoders
    from docrag.ingest.shelf import Shelf
    from docrag.ingest.sync import Listener
    from docrag.search.conditions import Filter
    from docrag.search.heatmap import Heatmap
    from docrag.search.label import LabelledPage
    from docrag.search.tune import Tuning


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

    def __init__(self, place: Place, shelf: Shelf, encoders: Encoders, settings: Settings) -> None:
        self._place = place
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
        place = place_of(settings)
        try:
            encoders = choose_encoders(settings, place.fingerprint() if create else require_index(place))
            return cls(place, open_shelf(place, encoders, settings.datatype), encoders, settings)
        except BaseException:
            place.close()
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
        from docrag.ingest.sync import sync

        settings = self._settings
        named = [paths] if isinstance(paths, str) or not isinstance(paths, Sequence) else paths
        with closing(captioner_of(settings, self._place.folder)) as captioner:
            return sync(
                self._shelf,
                [Path(path) for path in named],
                make_pipeline=lambda: pipeline_of(settings, self._encoders, captioner),
                options=read_options_of(settings, self._encoders.image_side, passwords),
                workers=settings.workers or None,
                prune=prune,
                again=again,
                listener=listener or (lambda event: None),
                should_stop=should_stop,
            )

    def search(
        self,
        query: str = "",
        k: int = 10,
        mode: Mode = "hybrid",
        filter: Filter | None = None,
        *,
        image: Image | str | os.PathLike[str] | None = None,
        audio: str | os.PathLike[str] | None = None,
    ) -> list[Hit]:
        """The pages that answer a query, best first.

        Args:
            query: A question or some words; a path or an address is words too.
            k: How many pages, 1 or more.
            mode: hybrid, late, cosine or text.
            filter: Metadata that a page must have, all of it, such as {"file_name": "report.pdf"}; a list of
                values means any of them, and docrag.search.conditions says more.
            image: What pages should look like, beside the words or alone; for encoders that see.
            audio: A recording, for encoders that hear.

        Raises:
            QueryError: The query is empty, the mode or the filter cannot be used, or no encoder of the index
                takes such a query.
        """
        from docrag.search.answer import answer
        from docrag.search.query import ask
        from docrag.search.stages import load_stages

        asked, stages = ask(query, image, audio, k, mode, filter), load_stages(self._place.folder)
        return answer(self._shelf.store, self._shelf.images, self._encoders, asked, stages)

    async def asearch(self, query: str = "", **wanted: Any) -> list[Hit]:
        """The same as search, in a thread, so that an event loop goes on meanwhile."""
        return await asyncio.to_thread(self.search, query, **wanted)

    def heatmap(self, page_id: str, query: str) -> Heatmap:
        """How well each place of a page matches each word of a query.

        Raises:
            NotFound: The page is not in the index.
            QueryError: The query is empty, or no vector of the page stands anywhere on it.
        """
        from docrag.search.heatmap import heatmap

        return heatmap(self._shelf.store, self._encoders, page_id, query)

    def label(
        self, labels: Sequence[str], *, template: str = "{}", filter: Filter | None = None
    ) -> list[LabelledPage]:
        """Zero-shot classification of the pages by the image encoder of the index.

        Args:
            labels: What a page may be, in any language that the encoder knows.
            template: How a label is put to the encoder, such as "a scan of a {}".
            filter: Only pages with these metadata values.

        Returns:
            One for each page, in the order of file and page.

        Raises:
            QueryError: There are no labels, or the index has no image encoder that compares texts.
        """
        from docrag.search.label import label_stored

        return label_stored(self._shelf.store, self._encoders.image, labels, template, filter)

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
            compare: Whether other poolings and datatypes are tried too, on a sample of the pages.
            write: Whether what is chosen is kept with the index.

        Raises:
            StoreError: There are too few pages to tune, or nothing to ask.
        """
        from docrag.search.stages import save_stages
        from docrag.search.tune import tune

        tuning = tune(self._shelf.store, self._encoders, questions, recall, compare=compare)
        if write and tuning.chosen:
            save_stages(self._place.folder, tuning.chosen.stages, tuning.measured())
        return tuning

    def as_retriever(self, **fields: Any) -> DocragRetriever:
        """A LangChain retriever over the index, which stays open when the retriever is closed.

        Args:
            fields: Of `langchain_docrag.DocragRetriever`: k, mode, filter, neighbours, group_by_document...
        """
        from langchain_docrag import DocragRetriever

        return DocragRetriever(index=self, **fields)

    def documents(self) -> list[IndexedDocument]:
        """What is indexed, by path."""
        from docrag.search.browse import documents

        return documents(self._shelf.store)

    def pages(self, page_ids: Sequence[str]) -> list[IndexedPage]:
        """Pages in the order of their ids; those that are not in the index are left out.

        The page before or after one has the id `docrag.types.page_id(page.document_id, number)`.

        Args:
            page_ids: As hits name them; anything else is the id of no page.
        """
        from docrag.search.browse import pages

        return pages(self._shelf.store, self._shelf.images, [name for name in page_ids if is_page_id(name)])

    def page(self, page_id: str) -> IndexedPage:
        """One page.

        Raises:
            NotFound: It is not in the index.
        """
        for found in self.pages([page_id]):
            return found
        raise NotFound(f"no page {page_id} in the index", "take the id of a hit")

    def remove(self, path: str | os.PathLike[str]) -> int:
        """Forget a file; its pages go unless the same content stands at another path too.

        Args:
            path: The path as ingested, or as seen from the working directory; or the id of a document.

        Returns:
            How many pages were removed.

        Raises:
            NotFound: No such file was ingested.
        """
        return self._shelf.forget(path)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The models that the index is built with, and what else decides its vectors."""
        return self._encoders.fingerprint()

    def status(self) -> Status:
        """What the index holds."""
        return status_of(self._place, self._shelf, self._encoders)

    def close(self) -> None:
        """Let go of the index, so that another process can open it."""
        self._encoders.close()
        self._shelf.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
