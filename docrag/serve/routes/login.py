"""Login for browsers: a form for the key, and a cookie hidden from scripts and other sites."""

from __future__ import annotations

import logging
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from docrag.serve.rendering import render
from docrag.serve.security import COOKIE, LOGIN, Access

logger = logging.getLogger(__name__)

COOKIE_SECONDS = 7 * 24 * 3600

router = APIRouter(include_in_schema=False)


@router.get(LOGIN)
def show_login() -> HTMLResponse:
    """The login form."""
    return _login_page()


@router.post(LOGIN)
def log_in(request: Request, key: Annotated[str, Form(max_length=1024)] = "") -> Response:
    """Set the cookie if the key is right."""
    access: Access = request.app.state.access
    if not access.is_key(key):
        logger.info("login refused: wrong key")
        return _login_page("This is not the key.", 401)
    response = RedirectResponse("/", 303)
    response.set_cookie(
        COOKIE,
        access.session,
        max_age=COOKIE_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.scope["scheme"] == "https",
    )
    return response


@router.post("/logout")
def log_out() -> Response:
    """Delete the cookie."""
    response = RedirectResponse(LOGIN, 303)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


def _login_page(message: str = "", status: int = 200) -> HTMLResponse:
    response = render("login.html", status, message=message)
    response.headers["Cache-Control"] = "no-store"
    return response
