"""How hits are grouped by document, and how they are ordered among their neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from docrag.types import Hit, IndexedPage, page_id


def group_by_document(hits: Sequence[Hit]) -> dict[str, list[Hit]]:
    """Group hits by document id; the documents are in the order of their best page."""
    groups: dict[str, list[Hit]] = {}
    for hit in hits:
        groups.setdefault(hit.document_id, []).append(hit)
    return groups


def best_pages_by_document(hits: Sequence[Hit], documents: int, pages: int) -> list[Hit]:
    """Take the best pages of the best documents, one document after the other."""
    groups = list(group_by_document(hits).values())[:documents]
    return [hit for group in groups for hit in group[:pages]]


def find_neighbours(hits: Sequence[Hit], distance: int) -> dict[str, Hit]:
    """Find the pages up to `distance` before and after each hit.

    Returns:
        The id of each neighbour, with the best hit that it is a neighbour of. A hit is never a neighbour.
        A page with one of these ids need not be in the index.
    """
    hit_ids = {hit.page_id for hit in hits}
    neighbours: dict[str, Hit] = {}
    for hit in hits:
        first = max(1, hit.page - distance)
        last = min(hit.metadata["total_pages"], hit.page + distance)
        for number in range(first, last + 1):
            neighbour_id = page_id(hit.document_id, number)
            if neighbour_id not in hit_ids:
                neighbours.setdefault(neighbour_id, hit)
    return neighbours


def order_in_runs(hits: Sequence[Hit], neighbours: Sequence[IndexedPage]) -> Iterator[IndexedPage]:
    """Order hits and their neighbours in runs of consecutive pages, the run of the best hit first.

    Within a run the pages are in document order, so that a table that continues overleaf is read in order.
    """
    remaining = {(page.document_id, page.page): page for page in (*neighbours, *hits)}
    for hit in hits:
        document, number = hit.document_id, hit.page
        if (document, number) not in remaining:
            continue  # this hit was part of the run of a better one
        while (document, number - 1) in remaining:
            number -= 1
        while (document, number) in remaining:
            yield remaining.pop((document, number))
            number += 1
