"""What a person asks on the search page, as it stands in the address: to share, to keep, to go back to."""

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

COUNTS = (5, 10, 20, 50)
"""How many pages the form offers to show."""
MOST_PAGES = 100
LONGEST = 2000
"""Characters of a question."""
KEY = 12
"""Letters of a document's id that the address holds: 48 bits, enough to tell documents apart."""


@dataclass(frozen=True, slots=True)
class SearchForm:
    """A question with what narrows it.

    >>> SearchForm("red lamp", k=20).url()
    '/?q=red+lamp&k=20'
    """

    q: str = ""
    mode: Mode = "hybrid"
    k: int = 10
    within: tuple[str, ...] = ()
    """Beginnings of the ids of the documents to search in; empty for all."""
    like: str = ""
    """Key of the image that pages should look like; empty for none."""

    @classmethod
    def of(cls, given: ImmutableMultiDict[str, Any]) -> Self:
        """From the fields of an address or a form.

        Raises:
            QueryError: A field has a value that the form does not offer.
        """
        q, mode, k, like = (str(given.get(name) or default) for name, default in _DEFAULTS.items())
        within = tuple(dict.fromkeys(str(key) for key in given.getlist("in")))
        if len(q) > LONGEST:
            raise QueryError(f"a question of {len(q)} characters", f"ask in at most {LONGEST}")
        if mode not in MODES:
            raise QueryError(f"there is no mode {mode[:40]!r}", f"one of {', '.join(MODES)}")
        if not (k.isascii() and k.isdigit() and len(k) < 9 and 1 <= int(k) <= MOST_PAGES):
            raise QueryError(f"cannot show {k[:40]!r} pages", f"a number from 1 to {MOST_PAGES}")
        if like and not re.fullmatch(r"[0-9a-f]{32}", like):
            raise QueryError(f"{like[:40]!r} is no image", "choose or drop one")
        for key in within:
            if not re.fullmatch(r"[0-9a-f]{6,64}", key):
                raise QueryError(f"{key[:40]!r} is not the id of a document", "choose documents in the list")
        return cls(q.strip(), mode, int(k), within, like)

    def url(self, path: str = "/", **changes: Any) -> str:
        """An address that asks this, with some changes; what is usual is left out."""
        asked = replace(self, **changes)
        fields = [("q", asked.q), ("mode", asked.mode), ("k", str(asked.k)), ("like", asked.like)]
        pairs = [(name, value) for name, value in fields if value != _DEFAULTS[name]]
        pairs += [("in", key[:KEY]) for key in asked.within]
        return f"{path}?{urlencode(pairs, errors='replace')}" if pairs else path

    def chosen(self, documents: Sequence[IndexedDocument]) -> list[IndexedDocument]:
        """The documents to search in, empty for all.

        Raises:
            QueryError: One is no longer in the index.
        """
        chosen = []
        for key in self.within:
            found = [document for document in documents if document.id.startswith(key)]
            if not found:
                raise QueryError(
                    f"document {key[:KEY]} is not in the index", "it may have been removed: search in all"
                )
            chosen += found
        return chosen


def filter_of(chosen: list[IndexedDocument]) -> Filter | None:
    """The filter that lets only the pages of some documents pass; None where none is chosen."""
    return {"document_id": [document.id for document in chosen]} if chosen else None


_DEFAULTS = {"q": "", "mode": "hybrid", "k": "10", "like": ""}
