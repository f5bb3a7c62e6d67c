"""The addresses of page images that payloads name, in `image_url`: made, and read again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, unquote

CARD = "?card=1"
"""The query with which `docrag serve` shows a browser the page as the cards of Qdrant's dashboard need it."""

_ADDRESS = re.compile(
    r"(?P<base_url>.*?)/pages/(?P<index>[^/]+)/[^/]+/\d+\.jpg" + re.escape(CARD)
    + r"|(?P<older_base_url>.*)/pages/[^/]+/\d+\.jpg"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PageAddresses:
    """Where the page images of an index are served.

    The dashboard shows http URLs whose path ends in .jpg, whatever their query is.

    >>> addresses = PageAddresses("http://localhost:8000", "reports")
    >>> addresses.of("ab12", 3)
    'http://localhost:8000/pages/reports/ab12/3.jpg?card=1'
    >>> PageAddresses.read("http://localhost:8000/pages/reports/ab12/3.jpg?card=1") == addresses
    True
    """

    base_url: str
    """Of the server, without a slash at the end."""
    index: str = ""
    """Name of the index, so that one server can tell the pages of several apart. Empty for addresses of the
    older form, which do not name it and show the plain image everywhere."""

    def of(self, document_id: str, number: int) -> str:
        """Return the address of the image of a page; numbers count from 1."""
        if not self.index:
            return f"{self.base_url}/pages/{document_id}/{number}.jpg"
        return f"{self.base_url}/pages/{quote(self.index, safe='')}/{document_id}/{number}.jpg{CARD}"

    @classmethod
    def read(cls, address: str) -> Self | None:
        """Return what made an address; None if it is not the address of a page image."""
        match = _ADDRESS.fullmatch(address)
        if match is None:
            return None
        if match["index"]:
            return cls(match["base_url"], unquote(match["index"]))
        return cls(match["older_base_url"])


def plain_image(address: str) -> str:
    """Return the address of the image alone, without what is meant for the cards of the dashboard.

    >>> plain_image("http://localhost:8000/pages/reports/ab12/3.jpg?card=1")
    'http://localhost:8000/pages/reports/ab12/3.jpg'
    """
    return address.removesuffix(CARD)
