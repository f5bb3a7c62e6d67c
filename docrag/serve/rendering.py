"""Templates made into answers, and errors into pages that help."""

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
from docrag.serve import template_helpers as shown
from docrag.serve.errors import error_answer, noted_status
from docrag.serve.search_form import COUNTS, LONGEST, SearchForm
from docrag.types import MODES

_templates = Environment(
    loader=PackageLoader("docrag.serve"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@cache
def static(name: str) -> str:
    """The address of a file in static/; it changes with the content, so that browsers may keep it."""
    content = (Path(__file__).parent / "static" / name).read_bytes()
    return f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:8]}"


_templates.globals.update(shown=shown, static=static, MODES=MODES, COUNTS=COUNTS, LONGEST=LONGEST)


def html(template: str, status_code: int = 200, **context: Any) -> HTMLResponse:
    """A template, filled in; what stands in the context is escaped."""
    page = _templates.get_template(template).render(context)
    # A page is asked for again each time: the index may have changed.
    return HTMLResponse(page, status_code, headers={"Cache-Control": "no-cache"})


def error_page(request: Request, error: DocragError) -> HTMLResponse:
    """What happened and what to do about it: a whole page, or the part that htmx puts into one."""
    status = noted_status(request, error)
    part = "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers
    return html(
        "error.html" if part else "error_page.html", status, error=error, asked=SearchForm(), status=status
    )


def nothing_here(request: Request, error: Any) -> Response:
    """The answer at an address that leads nowhere: a page for people, JSON for programs."""
    if "text/html" not in request.headers.get("accept", ""):
        return error_answer(404, str(error.detail), "see /openapi.json")
    return error_page(request, NotFound("there is nothing at this address", "search from the start page"))


class HtmlRoute(APIRoute):
    """Answers errors of docrag with a page."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's own handler, with errors caught."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except DocragError as error:
                return error_page(request, error)

        return answer
