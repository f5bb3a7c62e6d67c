"""Reader: the half of an index that answers and changes nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from docrag.errors import NotFound
from docrag.index.page_count import PageCount
from docrag.index.status import Status, status_of
from docrag.types import Hit, IndexedDocument, IndexedPage, Mode, is_page_id

if TYPE_CHECKING:
    from PIL.Image import Image

    from docrag.encode.encoders import Encoders
    from docrag.ingest.storage import Storage
    from docrag.location.base import IndexLocation
    from docrag.search.filters import Filter
    from docrag.search.heatmap import Heatmap
    from docrag.search.label import LabelledPage
    from docrag.settings import Settings


class Reader:
    """Searches an index and tells what it holds; `docrag.Index` is one that writes, too."""

    def __init__(
        self, location: IndexLocation, storage: Storage, encoders: Encoders, settings: Settings
    ) -> None:
        self._location = location
        self._storage = storage
        self._encoders = encoders
        self._settings = settings
        self._pages = PageCount(storage.store.count)

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
                values means any of them, and docrag.search.filters says more.
            image: What pages should look like, beside the words or alone; for encoders that see.
            audio: A recording, for encoders that hear.

        Raises:
            QueryError: The query is empty, the mode or the filter cannot be used, or no encoder of the index
                takes such a query.
        """
        from docrag.search.answer import answer
        from docrag.search.query import ask
        from docrag.tuning.plan import stages_for

        asked, stages = (
            ask(query, image, audio, k, mode, filter),
            stages_for(self._location.folder, self._pages),
        )
        return answer(self._storage.store, self._storage.images, self._encoders, asked, stages)

    async def asearch(self, query: str = "", **wanted: Any) -> list[Hit]:
        """The same as search, in a thread, so that an event loop goes on meanwhile."""
        return await asyncio.to_thread(self.search, query, **wanted)

    def heatmap(self, page_id: str, query: str) -> Heatmap:
        """How well each location of a page matches each word of a query.

        Raises:
            NotFound: The page is not in the index.
            QueryError: The query is empty, or no vector of the page stands anywhere on it.
        """
        from docrag.search.heatmap import heatmap

        return heatmap(self._storage.store, self._encoders, page_id, query)

    def label(
        self,
        labels: Sequence[str],
        *,
        template: str = "{}",
        filter: Filter | None = None,
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

        return label_stored(self._storage.store, self._encoders.image, labels, template, filter)

    def documents(self) -> list[IndexedDocument]:
        """What is indexed, by path."""
        from docrag.search.browse import documents

        return documents(self._storage.store)

    def pages(self, page_ids: Sequence[str]) -> list[IndexedPage]:
        """Pages in the order of their ids; those that are not in the index are left out.

        The page before or after one has the id `docrag.types.page_id(page.document_id, number)`.

        Args:
            page_ids: As hits name them; anything else is the id of no page.
        """
        from docrag.search.browse import pages

        return pages(
            self._storage.store, self._storage.images, [name for name in page_ids if is_page_id(name)]
        )

    def page(self, page_id: str) -> IndexedPage:
        """One page.

        Raises:
            NotFound: It is not in the index.
        """
        for found in self.pages([page_id]):
            return found
        raise NotFound(f"no page {page_id} in the index", "take the id of a hit")

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The models that the index is built with, and what else decides its vectors."""
        return self._encoders.fingerprint()

    @property
    def changes(self) -> int:
        """How often this process has changed the index; others that write to it are not counted."""
        return self._pages.changes

    def status(self) -> Status:
        """What the index holds."""
        return status_of(self._location, self._storage, self._encoders)

    def close(self) -> None:
        """Let go of the index, so that another process can open it."""
        self._encoders.close()
        self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
