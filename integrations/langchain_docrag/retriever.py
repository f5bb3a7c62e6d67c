"""DocragRetriever: the pages of an index as LangChain documents."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from docrag import Index, Settings
from docrag.errors import QueryError
from docrag.operations.follow import open_folder
from docrag.types import Hit, Mode
from langchain_docrag.documents import page_document
from langchain_docrag.ranking import (
    best_pages_by_document,
    find_neighbours,
    group_by_document,
    order_in_runs,
)

logger = logging.getLogger(__name__)

FIRST_LOOK = 4
"""With `group_by_document`: how many pages are searched at first for each page that may be returned."""
MAX_PAGES_SEARCHED = 1000
"""With `group_by_document`: the search is not widened beyond this number of pages."""


class RetrievalOptions(BaseModel):
    """Which pages a retriever returns, and what it returns with them.

    These are fields of the retriever, and each of them can be overridden in a single call.
    """

    model_config = ConfigDict(extra="forbid")

    k: int = Field(default=4, ge=1)
    """Number of pages, or of documents with `group_by_document`. Neighbours are added to this number."""
    mode: Mode = "hybrid"
    """Which signals rank the pages: hybrid, late, cosine or text."""
    filter: Any = None
    """A metadata filter as `Index.search` takes it, such as {"file_name": "report.pdf"}."""
    score_threshold: float | None = None
    """Pages with a lower score are dropped. Scores are comparable within one mode only: in hybrid mode the
    highest possible score is 1, cosine runs from -1 to 1, late and text are unbounded."""
    neighbours: int = Field(default=0, ge=0, le=10)
    """Number of pages to add before and after each page found."""
    group_by_document: int = Field(default=0, ge=0)
    """Return this many of the best pages of each document (True means one); `k` then counts documents."""
    regions: bool = True
    """Say in the metadata which parts of each page match. Without, the vectors of these pages are not read,
    which saves most of the bytes that a server sends."""
    include_images: bool = False
    """Put the page image into the metadata, as base64: about 250 KB a page, which traces store too."""

    @classmethod
    def for_call(cls, defaults: BaseModel, overrides: Mapping[str, Any]) -> Self:
        """The options of one call.

        Args:
            defaults: Has the same fields, as the retriever does.
            overrides: Arguments of the call.

        Raises:
            QueryError: An argument is unknown or has an invalid value.
        """
        fields = {name: getattr(defaults, name) for name in cls.model_fields}
        try:
            return cls(**{**fields, **overrides})
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            hint = f"it takes {', '.join(cls.model_fields)}"
            if first["type"] == "extra_forbidden":
                raise QueryError(f"the retriever has no argument {name!r}", hint) from None
            raise QueryError(f"{name}={first['input']!r}: {first['msg']}", hint) from None

    @property
    def first_limit(self) -> int:
        """How many pages to search for at first."""
        if self.group_by_document:
            return self.k * self.group_by_document * FIRST_LOOK
        return self.k

    def is_enough(self, hits: list[Hit], limit: int) -> bool:
        """Whether a search with a higher limit would add nothing, or take too long.

        Args:
            hits: What the search found.
            limit: The number of pages that it was limited to.
        """
        if not self.group_by_document or len(hits) < limit or limit >= MAX_PAGES_SEARCHED:
            return True
        return len(group_by_document(hits)) >= self.k or len(self._above_threshold(hits)) < len(hits)

    def select(self, hits: list[Hit]) -> list[Hit]:
        """The hits that are returned."""
        selected = self._above_threshold(hits)
        if len(selected) < len(hits):
            logger.debug("%d of %d pages are below the score threshold", len(hits) - len(selected), len(hits))
        if self.group_by_document:
            return best_pages_by_document(selected, self.k, self.group_by_document)
        return selected

    def _above_threshold(self, hits: list[Hit]) -> list[Hit]:
        if self.score_threshold is None:
            return hits
        return [hit for hit in hits if hit.score >= self.score_threshold]


class DocragRetriever(BaseRetriever, RetrievalOptions):
    """Retrieves the pages of an index that answer a question.

    Every field of `RetrievalOptions` (k, mode, filter, score_threshold, neighbours, group_by_document,
    include_images) can be given to the constructor and to a call: `retriever.invoke("...", k=3,
    mode="late")`, `retriever.bind(k=3)`.

    The best document comes first. With `neighbours`, consecutive pages are returned together in document
    order, and the run that contains the best page comes first; pages that were found have a `rank` in their
    metadata, neighbours do not.

    If `from_index` or `from_folder` opened the index, `close` or the end of a `with` block closes it. An
    index that was passed in stays open. Copies, as `configurable_fields` makes them, share the index and
    never close it.

    >>> import tempfile
    >>> from docrag.demo import documents
    >>> from langchain_docrag import DocragRetriever
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     manual = documents() / "tarn12_manual.pdf"
    ...     with DocragRetriever.from_folder(manual, index=f"{folder}/index") as retriever:
    ...         [page] = retriever.invoke("What do four red flashes mean?", k=1)
    >>> page.metadata["file_name"], page.metadata["page_label"]
    ('tarn12_manual.pdf', '4')
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    index: Index = Field(repr=False, exclude=True)
    """The index that is searched; the retriever does not close it."""
    _owned_index: Index | None = PrivateAttr(default=None)

    @field_validator("index", mode="before")
    @classmethod
    def _require_index(cls, value: object) -> object:
        if not isinstance(value, Index):
            raise ValueError("not a docrag.Index; DocragRetriever.from_index(uri) opens one")
        return value

    @classmethod
    def from_index(
        cls, uri: str | os.PathLike[str] | None = None, *, settings: Settings | None = None, **fields: Any
    ) -> Self:
        """Open an existing index and retrieve from it; `close` closes it.

        Args:
            uri: A directory, or a collection on a Qdrant server. The default is DOCRAG_INDEX, then
                ./docrag-index.
            settings: The settings that `Index.open` takes.
            fields: Fields of the retriever: k, mode, filter, tags...

        Raises:
            IndexNotFound: There is no index at `uri`.
            IndexInUse: Another process holds the directory without sharing it (`in_process`).
            ValidationError: A field is unknown or has an invalid value.
        """
        return cls._owning(Index.open(uri, settings=settings, create=False), fields)

    @classmethod
    def from_folder(
        cls,
        path: str | os.PathLike[str],
        *,
        index: str | os.PathLike[str] | None = None,
        settings: Settings | None = None,
        **fields: Any,
    ) -> Self:
        """Bring an index up to date with a folder or a file, and retrieve from it; `close` closes it.

        The first call reads and embeds every page. Later calls process only what has changed, and remove the
        pages of files that no longer exist. A warning names the files that cannot be read.

        Args:
            path: A folder, a PDF or an image.
            index: Where the index is kept. By default each path has an index of its own in the user's data
                directory (`~/.local/share/docrag/folders`, or under XDG_DATA_HOME), so that nothing is
                written into the folder and the indexes of two folders are never mixed up.
            settings: The settings that `Index.open` takes.
            fields: Fields of the retriever: k, mode, filter, tags...

        Raises:
            NotFound: The path does not exist.
            DocumentError: There are no files, or none of them can be read.
            IndexInUse: Another process holds the directory without sharing it (`in_process`).
            ValidationError: A field is unknown or has an invalid value.
        """
        opened = open_folder(path, index=index, settings=settings)
        logger.info("the index is up to date with %s", path)
        return cls._owning(opened, fields)

    @classmethod
    def _owning(cls, index: Index, fields: dict[str, Any]) -> Self:
        """A retriever that closes its index."""
        try:
            retriever = cls(index=index, **fields)
        except BaseException:
            index.close()
            raise
        retriever._owned_index = index
        return retriever

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **arguments: Any
    ) -> list[Document]:
        options = self._options_for(arguments)
        limit = options.first_limit
        hits = self.index.search(query, limit, options.mode, options.filter, regions=options.regions)
        while not options.is_enough(hits, limit):
            limit = _widened(limit, options)
            hits = self.index.search(query, limit, options.mode, options.filter, regions=options.regions)
        return self._documents(options.select(hits), options)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **arguments: Any
    ) -> list[Document]:
        options = self._options_for(arguments)
        asked = {"mode": options.mode, "filter": options.filter, "regions": options.regions}
        limit = options.first_limit
        hits = await self.index.asearch(query, **asked, k=limit)
        while not options.is_enough(hits, limit):
            limit = _widened(limit, options)
            hits = await self.index.asearch(query, **asked, k=limit)
        return await asyncio.to_thread(self._documents, options.select(hits), options)

    def _options_for(self, arguments: dict[str, Any]) -> RetrievalOptions:
        """The options of one call; LangChain passes its own argument `verbose` along, which is ignored."""
        overrides = {name: value for name, value in arguments.items() if name != "verbose"}
        return RetrievalOptions.for_call(self, overrides)

    def _documents(self, hits: list[Hit], options: RetrievalOptions) -> list[Document]:
        """The hits as documents, with their neighbours if the options ask for them."""
        if not options.neighbours:
            return [page_document(hit, include_image=options.include_images) for hit in hits]
        hit_of_neighbour = find_neighbours(hits, options.neighbours)
        documents = []
        for page in order_in_runs(hits, self.index.pages(list(hit_of_neighbour))):
            hit = hit_of_neighbour.get(page.page_id)
            documents.append(
                page_document(
                    page,
                    neighbour_of=hit.page_id if hit else "",
                    include_image=options.include_images,
                )
            )
        return documents

    def _get_ls_params(self, **arguments: Any) -> LangSmithRetrieverParams:
        """What LangSmith records: the models that compare the query with the pages."""
        fingerprint = self.index.fingerprint
        mode = arguments.get("mode", self.mode)
        model = fingerprint["late"]
        if mode == "cosine":
            model = fingerprint["image"] or fingerprint["text"]
        return LangSmithRetrieverParams(
            ls_retriever_name="docrag",
            ls_vector_store_provider="qdrant",
            ls_embedding_provider=model["library"],
            ls_embedding_model="bm25" if mode == "text" else model["model"],
        )

    def close(self) -> None:
        """Close the index if the retriever opened it itself."""
        if self._owned_index is not None:
            self._owned_index.close()
            self._owned_index = None

    def __copy__(self) -> Self:
        """Copy the retriever; the copy shares the index and does not close it."""
        copied = super().__copy__()
        copied._owned_index = None
        return copied

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Make a shallow copy: an open index cannot be duplicated."""
        return self.__copy__()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _widened(limit: int, options: RetrievalOptions) -> int:
    """The limit of the next search, where a search found the pages of too few documents."""
    logger.debug(
        "the best %d pages are of fewer than %d documents: searching for %d", limit, options.k, 4 * limit
    )
    return 4 * limit
