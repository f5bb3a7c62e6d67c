"""The pages that people see: search, a page of a document, and the original PDFs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import State, UploadFile

from docrag.errors import NotFound, QueryError
from docrag.index.index import Index
from docrag.search.filters import AllOf, Filter, Is
from docrag.serve.document_list import DocumentList
from docrag.serve.originals import existing_file, original_pdf
from docrag.serve.query_images import QueryImages, decode_image
from docrag.serve.rendering import STATIC, HtmlRoute, render
from docrag.serve.routes.images import Width
from docrag.serve.search_form import SearchForm, document_filter
from docrag.serve.searches import Searches, SearchResult
from docrag.serve.template_helpers import query_words
from docrag.serve.urls import page_image_url
from docrag.types import IndexedDocument, IndexedPage, Region
from docrag.types import page_id as page_id_of

MAX_COVERS = 60
"""Documents shown on the start page."""
MAX_LISTED = 200
"""Documents listed in the filter at once; others are found by name."""
FIRST_PAGE_SEARCH = 40
"""How many pages at the beginning of a document are searched for the first one that is in the index."""
STRIP_PAGES = 20
"""Pages before and after the open page that its strip shows."""
MAX_REMEMBERED = 5000
"""Hits whose matched regions are remembered, so that opening one does not search again."""


def make_router(state: State) -> APIRouter:
    """The routes of the pages.

    Args:
        state: Holds `index`, `documents`, `searches` and `settings` of the application.
    """
    pages = HtmlPages(state)
    router = APIRouter(include_in_schema=False, route_class=HtmlRoute, default_response_class=HTMLResponse)
    router.add_api_route("/favicon.ico", pages.icon)
    router.add_api_route("/", pages.home)
    router.add_api_route("/results", pages.results)
    router.add_api_route("/by-image", pages.search_by_image, methods=["POST"])
    router.add_api_route("/listed", pages.list_documents)
    router.add_api_route("/page/{page_id}", pages.show_page)
    router.add_api_route("/page/{page_id}/words", pages.show_words)
    router.add_api_route("/documents/{document_id}.pdf", pages.open_pdf)
    return router


class Cover(NamedTuple):
    """A document on the start page, with its first page."""

    document: IndexedDocument
    page_id: str
    image_url: str


class HtmlPages:
    """Renders the pages.

    Args:
        state: Holds `index`, `documents`, `searches` and `settings` of the application.
    """

    def __init__(self, state: State) -> None:
        self._index: Index = state.index
        self._documents: DocumentList = state.documents
        self._searches: Searches = state.searches
        self._images = QueryImages()
        self._matched_regions: OrderedDict[tuple[str, str, Hashable], tuple[Region, ...]] = OrderedDict()
        self._features = {
            "allow_ingest": state.settings.allow_ingest,
            "takes_images": "images" in self._index.status().takes,
        }

    def icon(self) -> Response:
        """The icon of tabs that show no page of ours, such as a PDF."""
        return FileResponse(STATIC / "mark.svg", headers={"Cache-Control": "public, max-age=86400"})

    async def home(self, request: Request) -> Response:
        """The search page; the address says what it shows."""
        form = SearchForm.parse(request.query_params)
        return await self._searches.run_limited(self._search_page, request, form)

    async def results(self, request: Request) -> Response:
        """The part of the search page that changes with a new question."""
        form = SearchForm.parse(request.query_params)
        return await self._searches.run_limited(self._search_part, request, form)

    async def search_by_image(self, request: Request) -> Response:
        """Keep an uploaded image, and show the pages that look like it."""
        async with request.form(max_files=1, max_fields=300) as fields:
            form = SearchForm.parse(fields)
            upload = fields.get("image")
            if not isinstance(upload, UploadFile) or not upload.size:
                raise QueryError("there is no image", "choose a PNG, JPEG, WebP or TIFF image")
            name = upload.filename or "an image"
            content = await upload.read()
        key = await run_in_threadpool(self._images.add, name, content)
        form = replace(form, like=key)
        if "HX-Request" in request.headers:
            return await self._searches.run_limited(self._search_part, request, form)
        return RedirectResponse(form.url(), 303)

    def list_documents(self, request: Request) -> Response:
        """The documents in the filter whose path or title contains the words that were typed."""
        form = SearchForm.parse(request.query_params)
        words = request.query_params.get("find", "")
        return render("listed.html", **self._filter_context(form, self._documents.all(), words))

    def show_page(self, request: Request, page_id: str) -> Response:
        """One page of a document, with the regions that the question matched on it."""
        form = SearchForm.parse(request.query_params)
        page = self._index.page(page_id)
        response = render(
            "page.html",
            **self._form_context(form, self._documents.all()),
            **self._strip_context(page),
            page=page,
            regions=self._regions(request, form.q, page),
            words=query_words(form.q),
            has_original=existing_file(page.metadata["sources"]) is not None,
        )
        # Browsers fetch a page when the pointer comes near its link, and open it a moment later.
        response.headers["Cache-Control"] = "private, max-age=30"
        return response

    def show_words(self, request: Request, page_id: str) -> Response:
        """A button for each word of the question, which shows where the word was found."""
        form = SearchForm.parse(request.query_params)
        try:
            heatmaps = self._searches.heatmap(page_id, form.q).words
            reason = ""
        except QueryError as error:  # from models that see a page as a whole; the rest of the page is fine
            heatmaps = ()
            reason = error.message
        return render("words.html", form=form, page_id=page_id, heatmaps=heatmaps, reason=reason)

    def open_pdf(self, document_id: str) -> Response:
        """The file that was ingested."""
        document = self._documents.get(document_id)
        if document is None:
            raise NotFound(f"there is no document {document_id[:40]} in the index", "search for it again")
        path = original_pdf(document)
        return FileResponse(
            path,
            media_type="application/pdf",
            filename=path.name,
            content_disposition_type="inline",
            headers={"Cache-Control": "private, no-cache"},
        )

    def _search_page(self, request: Request, form: SearchForm) -> Response:
        documents = self._documents.all()
        context = {**self._form_context(form, documents), **self._view_context(request, form, documents)}
        return render("search.html", **context)

    def _search_part(self, request: Request, form: SearchForm) -> Response:
        context = self._view_context(request, form, self._documents.all())
        response = render("main.html", **self._features, form=form, **context)
        # The same search again replaces its entry in the history, so that one step back leaves it.
        is_same = request.headers.get("HX-Current-URL", "").endswith(form.url())
        response.headers["HX-Replace-Url" if is_same else "HX-Push-Url"] = form.url()
        return response

    def _form_context(self, form: SearchForm, documents: Sequence[IndexedDocument]) -> dict[str, Any]:
        """What the search form shows."""
        return {**self._features, "form": form, **self._filter_context(form, documents, "")}

    def _filter_context(
        self, form: SearchForm, documents: Sequence[IndexedDocument], find: str
    ) -> dict[str, Any]:
        """The documents that the filter lists: the chosen ones first, then those that contain some words."""
        words = find.casefold().split()
        chosen = [document for document in documents if document.id.startswith(form.within)]
        others = [document for document in documents if not document.id.startswith(form.within)]
        matching = [document for document in others if _contains(document, words)]
        return {
            "chosen": chosen,
            "offered": [*chosen, *matching[:MAX_LISTED]],
            "unlisted": max(0, len(matching) - MAX_LISTED),
        }

    def _view_context(
        self, request: Request, form: SearchForm, documents: Sequence[IndexedDocument]
    ) -> dict[str, Any]:
        """The results of a search; without a question, the documents of the index."""
        chosen = form.chosen_from(documents)
        within = chosen or documents
        context = {"chosen": chosen, "pages": sum(document.pages for document in within)}
        if documents and (form.q or form.like):
            return {**context, "view": "results.html", **self._results_context(request, form, chosen)}
        covers = [self._cover(document) for document in within[:MAX_COVERS]]
        return {**context, "view": "home.html", "documents": within, "covers": covers}

    def _results_context(
        self, request: Request, form: SearchForm, chosen: Sequence[IndexedDocument]
    ) -> dict[str, Any]:
        query_image = self._images.get(form.like) if form.like else None
        image = decode_image(query_image.content) if query_image else None
        result = self._searches.search(
            request.headers, form.q, form.k, form.mode, document_filter(chosen), image=image
        )
        if image is None:
            self._remember(form.q, result)
        return {
            "hits": result.hits,
            "took_ms": result.seconds * 1000,
            "words": query_words(form.q),
            "image_name": query_image.name if query_image else "",
        }

    def _cover(self, document: IndexedDocument) -> Cover:
        number = self._first_page(document)
        image_url = page_image_url(document.id, number, Width.RESULT)
        return Cover(document, page_id_of(document.id, number), image_url)

    def _first_page(self, document: IndexedDocument) -> int:
        """Number of the first page that is in the index: pages that could not be read are missing."""
        if document.pages == document.total_pages:
            return 1
        numbers = range(1, min(document.total_pages, FIRST_PAGE_SEARCH) + 1)
        pages = self._index.pages([page_id_of(document.id, number) for number in numbers])
        return pages[0].page if pages else 1

    def _remember(self, question: str, result: SearchResult) -> None:
        for hit in result.hits:
            self._matched_regions[question, hit.page_id, result.version] = hit.regions
        while len(self._matched_regions) > MAX_REMEMBERED:
            self._matched_regions.popitem(last=False)

    def _regions(self, request: Request, question: str, page: IndexedPage) -> tuple[Region, ...]:
        """The regions of a page that a question matches; none without a question."""
        if not question:
            return ()
        known = self._matched_regions.get((question, page.page_id, self._documents.version()))
        if known is not None:
            return known
        this_page: Filter = AllOf((Is("document_id", (page.document_id,)), Is("page", (page.page,))))
        result = self._searches.search(request.headers, question, 1, "late", this_page)
        self._remember(question, result)
        return result.hits[0].regions if result.hits else ()

    def _strip_context(self, page: IndexedPage) -> dict[str, Any]:
        """The pages around a page, and the ones before and after it."""
        total = page.metadata["total_pages"]
        numbers = range(max(1, page.page - STRIP_PAGES), min(total, page.page + STRIP_PAGES) + 1)
        strip = self._index.pages([page_id_of(page.document_id, number) for number in numbers])
        return {
            "strip": strip,
            "previous": next((other for other in reversed(strip) if other.page < page.page), None),
            "next": next((other for other in strip if other.page > page.page), None),
        }


def _contains(document: IndexedDocument, words: Sequence[str]) -> bool:
    """Whether the path and title of a document contain all of some words, which are in lower case."""
    text = f"{document.file} {document.title}".casefold()
    return all(word in text for word in words)
