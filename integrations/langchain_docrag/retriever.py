"""The retriever: pages of an index as LangChain's documents."""

from __future__ import annotations

import asyncio
import os
from types import TracebackType
from typing import Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from pydantic import ConfigDict, Field, PrivateAttr, field_validator

from docrag import Index, Settings
from docrag.operations.follow import open_folder
from docrag.types import Hit
from langchain_docrag.documents import page_document
from langchain_docrag.ranking import in_runs, neighbours_of
from langchain_docrag.wanted import Wanted


class DocragRetriever(BaseRetriever, Wanted):
    """Retrieves the pages of an index that answer a question.

    Every field of `Wanted` (k, mode, filter, score_threshold, neighbours, group_by_document, include_images)
    can be given to the constructor, and to a call: `retriever.invoke("...", k=3, mode="late")`,
    `retriever.bind(k=3)`.

    Documents come best first. With neighbours, pages that follow each other stand together in the order of
    the document, the run of the best page first; `rank` in the metadata says which of them were found.

    An index that `from_index` or `from_folder` opened is closed by `close`, or at the end of a `with` block;
    one that was given stays open. Copies, as `configurable_fields` makes them, share it and never close it.

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
    """Where the pages are; the retriever does not close it."""
    _opened: Index | None = PrivateAttr(default=None)

    @field_validator("index", mode="before")
    @classmethod
    def _is_open(cls, given: object) -> object:
        if not isinstance(given, Index):
            raise ValueError("not a docrag.Index; DocragRetriever.from_index(uri) opens one")
        return given

    @classmethod
    def from_index(
        cls, uri: str | os.PathLike[str] | None = None, *, settings: Settings | None = None, **fields: Any
    ) -> Self:
        """Open an index that is there, and retrieve from it; `close` closes it.

        Args:
            uri: A directory, or a collection on a Qdrant server; else DOCRAG_INDEX, else ./docrag-index.
            settings: As `Index.open` takes them.
            fields: Of the retriever: k, mode, filter, tags...

        Raises:
            IndexNotFound: Nothing is there.
            IndexInUse: Another process, or another retriever, holds it; share one by `index=`.
            ValidationError: A field is unknown or cannot be used.
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
        """Bring an index up to date with a folder (or file), and retrieve from it; `close` closes it.

        The first call reads and embeds every page; later ones only what changed, and files that are gone are
        forgotten. Files that cannot be read are named in a warning.

        Args:
            path: A folder, a PDF or an image.
            index: Where the index is; by default one of its own for each path, in the user's data directory
                (`~/.local/share/docrag/folders`, or under XDG_DATA_HOME), so that nothing is written into
                the folder and two folders never answer for each other.
            settings: As `Index.open` takes them.
            fields: Of the retriever: k, mode, filter, tags...

        Raises:
            NotFound: There is no such path.
            DocumentError: None of the files could be read, or there are none.
            IndexInUse: Another process, or another retriever, holds the index; share one by `index=`.
            ValidationError: A field is unknown or cannot be used.
        """
        return cls._owning(open_folder(path, index=index, settings=settings), fields)

    @classmethod
    def _owning(cls, index: Index, fields: dict[str, Any]) -> Self:
        try:
            retriever = cls(index=index, **fields)
        except BaseException:
            index.close()
            raise
        retriever._opened = index
        return retriever

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **given: Any
    ) -> list[Document]:
        wanted = self._wanted(given)
        asked = wanted.first_look
        while True:
            hits = self.index.search(query, asked, wanted.mode, wanted.filter)
            if wanted.enough(hits, asked):
                return self._documents(wanted.best(hits), wanted)
            asked *= 4

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **given: Any
    ) -> list[Document]:
        wanted = self._wanted(given)
        asked = wanted.first_look
        while True:
            hits = await self.index.asearch(query, k=asked, mode=wanted.mode, filter=wanted.filter)
            if wanted.enough(hits, asked):
                return await asyncio.to_thread(self._documents, wanted.best(hits), wanted)
            asked *= 4

    def _wanted(self, given: dict[str, Any]) -> Wanted:
        """What a call wants; `verbose` is for LangChain alone, and comes through."""
        return Wanted.of(self, {name: value for name, value in given.items() if name != "verbose"})

    def _documents(self, hits: list[Hit], wanted: Wanted) -> list[Document]:
        beside = neighbours_of(hits, wanted.neighbours) if wanted.neighbours else {}
        return [
            page_document(
                page,
                neighbour_of=beside[page.page_id].page_id if page.page_id in beside else "",
                include_image=wanted.include_images,
            )
            for page in (in_runs(hits, self.index.pages(list(beside))) if beside else hits)
        ]

    def _get_ls_params(self, **given: Any) -> LangSmithRetrieverParams:
        """What tracing tells: the models that compare the query with the pages."""
        models = self.index.fingerprint
        mode = given.get("mode", self.mode)
        used = models["image"] or models["text"] if mode == "cosine" else models["late"]
        return LangSmithRetrieverParams(
            ls_retriever_name="docrag",
            ls_vector_store_provider="qdrant",
            ls_embedding_provider=used["library"],
            ls_embedding_model="bm25" if mode == "text" else used["model"],
        )

    def close(self) -> None:
        """Let go of an index that the retriever opened itself."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def __copy__(self) -> Self:
        """A copy over the same index, which only the one that opened it closes."""
        copied = super().__copy__()
        copied._opened = None
        return copied

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """The same as a plain copy: an open index cannot be doubled."""
        return self.__copy__()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
