"""Rendering of templates, and errors as pages that help."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined

from docrag.errors import DocragError, NotFound
from docrag.serve import template_helpers
from docrag.serve.errors import error_headers, error_response, for_clients, logged_status
from docrag.serve.search_form import ID_PREFIX, MAX_QUESTION, PAGE_COUNTS, SearchForm
from docrag.serve.urls import heatmap_url, page_image_url
from docrag.types import MODES

STATIC = Path(__file__).parent / "static"

_templates = Environment(
    loader=PackageLoader("docrag.serve"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@cache
def static_url(name: str) -> str:
    """The address of a file in static/. It changes with the content, so browsers may cache it forever."""
    content = (STATIC / name).read_bytes()
    return f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:8]}"


_templates.globals.update(
    helpers=template_helpers,
    page_image_url=page_image_url,
    heatmap_url=heatmap_url,
    static_url=static_url,
    MODES=MODES,
    ID_PREFIX=ID_PREFIX,
    PAGE_COUNTS=PAGE_COUNTS,
    MAX_QUESTION=MAX_QUESTION,
)


def render(template: str, status_code: int = 200, **context: Any) -> HTMLResponse:
    """Render a template; the values of the context are escaped."""
    page = _templates.get_template(template).render(context)
    # The index may have changed, so that browsers ask for a page again each time.
    return HTMLResponse(page, status_code, headers={"Cache-Control": "no-cache"})


def error_page(request: Request, error: DocragError) -> HTMLResponse:
    """What went wrong and what to do about it: a whole page, or the part of it that htmx swaps in."""
    status = logged_status(request, error)
    partial = "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers
    template = "error.html" if partial else "error_page.html"
    page = render(template, status, error=for_clients(error), form=SearchForm(), status=status)
    page.headers.update(error_headers(error))
    return page


def not_found(request: Request, error: Any) -> Response:
    """The response for an unknown address: a page for browsers, JSON for programs."""
    if "text/html" not in request.headers.get("accept", ""):
        return error_response(404, str(error.detail), "see /openapi.json")
    return error_page(request, NotFound("there is nothing at this address", "go to the start page to search"))


class HtmlRoute(APIRoute):
    """A route that shows docrag's errors as a page."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's own handler, with errors caught."""
        handle = super().get_route_handler()

        async def handle_errors(request: Request) -> Response:
            try:
                return await handle(request)
            except DocragError as error:
                return error_page(request, error)

        return handle_errors
