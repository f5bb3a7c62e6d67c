"""How a browser gives the key: a form, and a cookie that no script reads and no other site sends."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from docrag.serve.security import COOKIE, LOGIN, Access

A_WEEK = 7 * 24 * 3600
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>docrag</title>
<link rel="stylesheet" href="/static/docrag.css">
</head>
<body>
<main class="login">
<h1>docrag</h1>
<form method="post" action="/login">
<p><label for="key">Key</label></p>
<p><input id="key" name="key" type="password" autocomplete="current-password" required autofocus></p>
<p role="alert">{complaint}</p>
<p><button>Open</button></p>
</form>
</main>
</body>
</html>
"""

router = APIRouter(include_in_schema=False)


@router.get(LOGIN)
def form() -> HTMLResponse:
    """The form."""
    return HTMLResponse(PAGE.format(complaint=""))


@router.post(LOGIN)
def log_in(request: Request, key: Annotated[str, Form(max_length=1024)] = "") -> Response:
    """Give a cookie for the key."""
    access: Access = request.app.state.access
    if not access.is_key(key):
        return HTMLResponse(PAGE.format(complaint="This is not the key."), 401)
    answer = RedirectResponse("/", 303)
    secure = request.scope["scheme"] == "https"
    answer.set_cookie(COOKIE, access.session, max_age=A_WEEK, httponly=True, samesite="strict", secure=secure)
    return answer


@router.post("/logout")
def log_out() -> Response:
    """Take the cookie back."""
    answer = RedirectResponse(LOGIN, 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer
