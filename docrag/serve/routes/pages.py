"""The pages that people see: search, one page of a document, and the originals behind them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import State, UploadFile

from docrag.errors import NotFound, QueryError
from docrag.index.index import Index
from docrag.search.filters import AllOf, Filter, Is
from docrag.serve import template_helpers as shown
from docrag.serve.document_list import Documents
from docrag.serve.originals import original, standing
from docrag.serve.query_images import Pictures, open_picture
from docrag.serve.rendering import HtmlRoute, html
from docrag.serve.search_form import SearchForm, filter_of
from docrag.serve.searches import Searches
from docrag.types import Hit, IndexedDocument, IndexedPage, Region, page_id

COVERS = 60
"""Documents that the first page shows."""
LISTED = 200
"""Documents that the filter lists at once; the others are found by name."""
LOOKED_AT = 40
"""Pages at the beginning of a document among which is its first one that could be read."""
AROUND = 20
"""Pages before and after one that its strip shows."""
REMEMBERED = 5000
"""Pages found, of which it is still known what matched: to open one costs no model another question."""
MARK = Path(__file__).parent / "static" / "mark.svg"


def routes(state: State) -> APIRouter:
    """The pages over an application's index.

    Args:
        state: Holds `index`, `documents`, `searches` and `settings`.
    """
    pages = Pages(state)
    router = APIRouter(include_in_schema=False, route_class=HtmlRoute, default_response_class=HTMLResponse)
    router.add_api_route("/favicon.ico", pages.mark)
    router.add_api_route("/", pages.home)
    router.add_api_route("/results", pages.results)
    router.add_api_route("/by-image", pages.by_image, methods=["POST"])
    router.add_api_route("/listed", pages.listed)
    router.add_api_route("/page/{name}", pages.page)
    router.add_api_route("/page/{name}/words", pages.words)
    router.add_api_route("/documents/{document_id}.pdf", pages.pdf)
    return router


class Pages:
    """Makes the pages.

    Args:
        state: Holds `index`, `documents`, `searches` and `settings`.
    """

    def __init__(self, state: State) -> None:
        self._index: Index = state.index
        self._documents: Documents = state.documents
        self._searches: Searches = state.searches
        self._pictures = Pictures()
        self._matched: OrderedDict[tuple[str, str], tuple[Region, ...]] = OrderedDict()
        self._facts = {
            "allow_ingest": state.settings.allow_ingest,
            "takes_images": "images" in self._index.status().takes,
        }

    def mark(self) -> Response:
        """The sign of a tab whose page names none, such as a PDF."""
        return FileResponse(MARK, headers={"Cache-Control": "public, max-age=86400"})

    async def home(self, request: Request) -> Response:
        """The search page; the address says what it shows."""
        return await self._searches.in_turn(self._whole, request, SearchForm.of(request.query_params))

    def _whole(self, request: Request, asked: SearchForm) -> Response:
        return html("search.html", **{**self._form(asked), **self._found(request, asked)})

    async def results(self, request: Request) -> Response:
        """The part of the search page that a new question changes, and the address to show for it."""
        return await self._searches.in_turn(self._part, request, SearchForm.of(request.query_params))

    def _part(self, request: Request, asked: SearchForm) -> Response:
        answer = html("main.html", **self._facts, asked=asked, **self._found(request, asked))
        again = request.headers.get("HX-Current-URL", "").endswith(asked.url())  # one step back is enough
        answer.headers["HX-Replace-Url" if again else "HX-Push-Url"] = asked.url()
        return answer

    async def by_image(self, request: Request) -> Response:
        """Keep an image to search by, and go to the address that asks for pages that look like it."""
        async with request.form(max_files=1, max_fields=300) as form:
            asked = SearchForm.of(form)
            upload = form.get("image")
            if not isinstance(upload, UploadFile) or not upload.size:
                raise QueryError("there is no image", "choose a PNG, JPEG, WebP or TIFF")
            name, content = upload.filename or "an image", await upload.read()
        like = await run_in_threadpool(self._pictures.keep, name, content)
        asked = replace(asked, like=like)
        if "HX-Request" in request.headers:
            return await self._searches.in_turn(self._part, request, asked)
        return RedirectResponse(asked.url(), 303)

    def listed(self, request: Request) -> Response:
        """The documents that the filter offers, those whose name holds some words."""
        asked = SearchForm.of(request.query_params)
        return html("listed.html", **self._list(asked, request.query_params.get("find", "")))

    def page(self, request: Request, name: str) -> Response:
        """One page of a document, large, with what the question matched on it."""
        asked = SearchForm.of(request.query_params)
        page = self._index.page(name)
        answer = html(
            "page.html",
            **self._form(asked),
            **self._beside(page),
            page=page,
            regions=self._regions(request, asked.q, page),
            words=shown.words_of(asked.q),
            there=standing(page.metadata["sources"]) is not None,
        )
        answer.headers["Cache-Control"] = "private, max-age=30"  # it is fetched when the pointer comes near
        return answer

    def words(self, request: Request, name: str) -> Response:
        """A button for each word of the question, to show where it was found."""
        asked = SearchForm.of(request.query_params)
        try:
            maps, why = self._searches.heatmap(name, asked.q).words, ""
        except QueryError as error:  # of models that see pages as a whole; the rest of the page stands
            maps, why = (), error.message
        return html("words.html", asked=asked, page_id=name, maps=maps, why=why)

    def pdf(self, document_id: str) -> Response:
        """The file that was ingested."""
        document = self._documents.get(document_id)
        if document is None:
            raise NotFound(f"no document {document_id[:40]} in the index", "search for it again")
        path = original(document)
        headers = {"Cache-Control": "private, no-cache"}
        return FileResponse(
            path,
            media_type="application/pdf",
            filename=path.name,
            content_disposition_type="inline",
            headers=headers,
        )

    def _form(self, asked: SearchForm) -> dict[str, Any]:
        """What the search form shows."""
        return {**self._facts, "asked": asked, **self._list(asked, "")}

    def _list(self, asked: SearchForm, find: str) -> dict[str, Any]:
        """The documents to choose from; those that are chosen always stand first."""
        documents = self._documents.all()
        words = find.casefold().split()
        chosen = [one for one in documents if one.id.startswith(asked.within or "-")]
        named = [one for one in documents if one not in chosen and _holds(one, words)]
        return {
            "chosen": chosen,
            "offered": [*chosen, *named[:LISTED]],
            "unlisted": max(0, len(named) - LISTED),
        }

    def _found(self, request: Request, asked: SearchForm) -> dict[str, Any]:
        """What the question finds; without one, the documents that there are."""
        documents = self._documents.all()
        chosen = asked.chosen(documents)
        within = chosen or documents
        told = {"chosen": chosen, "pages": sum(document.pages for document in within)}
        if not documents or not (asked.q or asked.like):
            covers = [(document, self._first(document)) for document in within[:COVERS]]
            return told | {"view": "home.html", "documents": within, "covers": covers}
        like = self._pictures.get(asked.like) if asked.like else None
        image = open_picture(like.content) if like else None
        found = self._searches.search(
            request.headers, asked.q, asked.k, asked.mode, filter_of(chosen), image=image
        )
        if image is None:
            self._remember(asked.q, found.hits)
        return told | {
            "view": "results.html",
            "hits": found.hits,
            "took": found.seconds * 1000,
            "words": shown.words_of(asked.q),
            "like": like.name if like else "",
        }

    def _first(self, document: IndexedDocument) -> int:
        """The number of a document's first page; those before it may have been lost."""
        if document.pages == document.total_pages:
            return 1
        numbers = range(1, min(document.total_pages, LOOKED_AT) + 1)
        there = self._index.pages([page_id(document.id, number) for number in numbers])
        return there[0].page if there else 1

    def _remember(self, question: str, hits: Sequence[Hit]) -> None:
        for hit in hits:
            self._matched[question, hit.page_id] = hit.regions
        while len(self._matched) > REMEMBERED:
            self._matched.popitem(last=False)

    def _regions(self, request: Request, question: str, page: IndexedPage) -> tuple[Region, ...]:
        """What a question matches on a page; nothing without a question in words."""
        if question and (question, page.page_id) not in self._matched:
            only: Filter = AllOf((Is("document_id", (page.document_id,)), Is("page", (page.page,))))
            self._remember(question, self._searches.search(request.headers, question, 1, "late", only).hits)
        return self._matched.get((question, page.page_id), ())

    def _beside(self, page: IndexedPage) -> dict[str, Any]:
        """The pages around one: its strip, and those before and after it."""
        total = page.metadata["total_pages"]
        numbers = range(max(1, page.page - AROUND), min(total, page.page + AROUND) + 1)
        strip = self._index.pages([page_id(page.document_id, number) for number in numbers])
        return {
            "strip": strip,
            "before": next((other for other in reversed(strip) if other.page < page.page), None),
            "after": next((other for other in strip if other.page > page.page), None),
        }


def _holds(document: IndexedDocument, words: list[str]) -> bool:
    """Whether the path or the title of a document holds all of some words, in lower case."""
    told = f"{document.file} {document.title}".casefold()
    return all(word in told for word in words)
