"""The addresses of page images and heatmaps, which the API and the search page both give out."""

from __future__ import annotations

from urllib.parse import urlencode


def page_image_url(document_id: str, page: int, width: int | None = None) -> str:
    """The address at which this server shows a page.

    A payload's `image_url` may point to another server, so this one does not use it.

    Args:
        document_id: The sha256 of the file.
        page: Page number, from 1.
        width: Width in pixels, one of `routes.images.Width`; None for the image as it was rendered.

    >>> page_image_url("ab12", 3, 480)
    '/pages/ab12/3.jpg?w=480'
    """
    return f"/pages/{document_id}/{page}.jpg" + (f"?w={width}" if width else "")


def heatmap_url(page_id: str, word: int, query: str) -> str:
    """The address of the image that shows where a page matches one word of a query.

    Args:
        page_id: The page.
        word: Position of the word among the words of the heatmap, from 0.
        query: The query.
    """
    return f"/v1/pages/{page_id}/heatmap/{word}.png?{urlencode({'q': query}, errors='replace')}"
