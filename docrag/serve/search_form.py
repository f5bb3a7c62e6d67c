"""The search form: the question and its options, as the address of the page holds them.

Everything stands in the address, so that a search can be shared, bookmarked and gone back to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self
from urllib.parse import urlencode

from starlette.datastructures import ImmutableMultiDict

from docrag.errors import QueryError
from docrag.search.filters import Filter
from docrag.types import MODES, IndexedDocument, Mode

PAGE_COUNTS = (5, 10, 20, 50)
"""The numbers of results that the form offers."""
MAX_PAGES = 100
MAX_QUESTION = 2000
"""Length of a question in characters."""
ID_PREFIX = 12
"""Characters of a document id in the address: 48 bits, enough to tell documents apart."""
_DEFAULTS = {"q": "", "mode": "hybrid", "k": "10", "like": ""}


@dataclass(frozen=True, slots=True)
class SearchForm:
    """A question with the options that narrow it.

    >>> SearchForm("red lamp", k=20).url()
    '/?q=red+lamp&k=20'
    """

    q: str = ""
    mode: Mode = "hybrid"
    k: int = 10
    within: tuple[str, ...] = ()
    """Prefixes of the ids of the documents to search in; empty for all."""
    like: str = ""
    """Key of the image that pages should look like; empty for none."""

    @classmethod
    def parse(cls, fields: ImmutableMultiDict[str, Any]) -> Self:
        """Read the fields of an address or a submitted form.

        Raises:
            QueryError: A field has a value that the form does not offer.
        """
        question = _field(fields, "q")
        mode = _field(fields, "mode")
        k = _field(fields, "k")
        like = _field(fields, "like")
        within = tuple(dict.fromkeys(str(prefix) for prefix in fields.getlist("in")))
        if len(question) > MAX_QUESTION:
            raise QueryError(
                f"the question has {len(question)} characters", f"shorten it to at most {MAX_QUESTION}"
            )
        if mode not in MODES:
            raise QueryError(f"there is no search mode {mode[:40]!r}", f"use one of {', '.join(MODES)}")
        if not (k.isascii() and k.isdigit() and len(k) < 9 and 1 <= int(k) <= MAX_PAGES):
            raise QueryError(f"cannot show {k[:40]!r} pages", f"use a number from 1 to {MAX_PAGES}")
        if like and not re.fullmatch(r"[0-9a-f]{32}", like):
            raise QueryError(f"{like[:40]!r} is not the key of an image", "choose or drop an image")
        for prefix in within:
            if not re.fullmatch(r"[0-9a-f]{6,64}", prefix):
                raise QueryError(f"{prefix[:40]!r} is not a document id", "choose documents in the list")
        return cls(question.strip(), mode, int(k), within, like)

    def url(self, path: str = "/", **changes: Any) -> str:
        """An address that holds this form with some changes; default values are left out."""
        form = replace(self, **changes)
        fields = [("q", form.q), ("mode", form.mode), ("k", str(form.k)), ("like", form.like)]
        pairs = [(name, value) for name, value in fields if value != _DEFAULTS[name]]
        pairs += [("in", prefix[:ID_PREFIX]) for prefix in form.within]
        return f"{path}?{urlencode(pairs, errors='replace')}" if pairs else path

    def chosen_from(self, documents: Sequence[IndexedDocument]) -> list[IndexedDocument]:
        """The documents to search in; empty for all.

        Raises:
            QueryError: One of them is no longer in the index.
        """
        chosen: list[IndexedDocument] = []
        for prefix in self.within:
            matching = [document for document in documents if document.id.startswith(prefix)]
            if not matching:
                raise QueryError(
                    f"document {prefix[:ID_PREFIX]} is not in the index",
                    "it may have been removed: search in all documents",
                )
            chosen += matching
        return chosen


def document_filter(documents: Sequence[IndexedDocument]) -> Filter | None:
    """A filter that matches only the pages of some documents; None where there are none."""
    return {"document_id": [document.id for document in documents]} if documents else None


def _field(fields: ImmutableMultiDict[str, Any], name: str) -> str:
    return str(fields.get(name) or _DEFAULTS[name])
