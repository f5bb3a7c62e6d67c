"""Pages by their documents, and pages among their neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from docrag.types import Hit, IndexedPage, page_id


def documents_in(hits: Sequence[Hit]) -> dict[str, list[Hit]]:
    """Hits by the id of their document, documents in the order of their best page."""
    found: dict[str, list[Hit]] = {}
    for hit in hits:
        found.setdefault(hit.document_id, []).append(hit)
    return found


def best_of_documents(hits: Sequence[Hit], documents: int, pages: int) -> list[Hit]:
    """The best pages of the best documents, document by document."""
    groups = list(documents_in(hits).values())[:documents]
    return [hit for group in groups for hit in group[:pages]]


def neighbours_of(hits: Sequence[Hit], reach: int) -> dict[str, Hit]:
    """Ids of the pages up to `reach` before and after hits, each with the best hit that it stands beside.

    Hits themselves are no neighbours. A page may not be in the index.
    """
    found = {hit.page_id for hit in hits}
    beside: dict[str, Hit] = {}
    for hit in hits:
        last = hit.metadata["total_pages"]
        for number in range(max(1, hit.page - reach), min(last, hit.page + reach) + 1):
            name = page_id(hit.document_id, number)
            if name not in found:
                beside.setdefault(name, hit)
    return beside


def in_runs(hits: Sequence[Hit], neighbours: Sequence[IndexedPage]) -> Iterator[IndexedPage]:
    """Hits among their neighbours: runs of pages that follow each other, the run of the best hit first.

    Within a run pages stand as in the document, so that a table that goes on overleaf is read in order.
    """
    pages = {(page.document_id, page.page): page for page in (*neighbours, *hits)}
    for hit in hits:
        document, number = hit.document_id, hit.page
        if (document, number) not in pages:
            continue  # it stands in the run of a better hit
        while (document, number - 1) in pages:
            number -= 1
        while (document, number) in pages:
            yield pages.pop((document, number))
            number += 1
