"""Which of some labels a page looks like: zero-shot classification by a CLIP-like encoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from docrag.encode.base import MixedEncoder, PageEncoder
from docrag.errors import QueryError
from docrag.search.filters import Filter
from docrag.search.plan import metadata_filter
from docrag.store.base import Store
from docrag.types import IMAGE, Page

AT_ONCE = 16
"""Pages encoded together."""
READ_AT_ONCE = 256
"""Vectors read from the store together."""


@dataclass(frozen=True, slots=True)
class LabelledPage:
    """A page and what it looks like."""

    file: str
    page: int
    """From 1."""
    labels: Mapping[str, float]
    """Probability of each label, the most likely first."""


def label_stored(
    store: Store,
    encoder: PageEncoder | None,
    labels: Sequence[str],
    template: str,
    filter: Filter | None,
) -> list[LabelledPage]:
    """Label the pages of an index by the vectors that are stored.

    Raises:
        QueryError: There are no labels, or the encoder cannot compare texts with images.
    """
    asked = prompts(labels, template)
    mixed = require_mixed(encoder)
    ids = [record.id for record in store.scroll(metadata_filter(filter), payload=["metadata.page"])]
    found = []
    for start in range(0, len(ids), READ_AT_ONCE):
        for record in store.retrieve(
            ids[start : start + READ_AT_ONCE], vectors=[IMAGE], payload=["metadata"]
        ):
            metadata = record.payload["metadata"]
            vector = np.asarray(record.vectors[IMAGE], np.float32)
            found.append((metadata["source"], metadata["page"] + 1, vector))
    if not found:
        return []
    found.sort(key=lambda row: row[:2])
    shares = mixed.label(np.stack([vector for *_, vector in found]), list(asked.values()))
    return [
        LabelledPage(file, page, ranked(asked, row))
        for (file, page, _), row in zip(found, shares, strict=True)
    ]


def label_pages(
    pages: Iterable[Page], encoder: PageEncoder | None, labels: Sequence[str], template: str
) -> Iterator[LabelledPage]:
    """Label pages as they are read.

    Raises:
        QueryError: There are no labels, or the encoder cannot compare texts with images.
    """
    asked = prompts(labels, template)
    mixed = require_mixed(encoder)
    for batch in _batches(pages):
        vectors = np.stack([multi.vectors[0] for multi in mixed.encode_pages(batch)])
        for page, row in zip(batch, mixed.label(vectors, list(asked.values())), strict=True):
            yield LabelledPage(page.document.sources[0], page.number, ranked(asked, row))


def prompts(labels: Sequence[str], template: str) -> dict[str, str]:
    """What the encoder is asked for each label.

    Raises:
        QueryError: There are no labels, or the template has no place for them.

    >>> prompts(["invoice", " chart "], "a scan of a {}")
    {'invoice': 'a scan of a invoice', 'chart': 'a scan of a chart'}
    """
    # A terminal may give halves of letters.
    named = [label.strip().encode(errors="replace").decode() for label in labels if label.strip()]
    if not named:
        raise QueryError("there are no labels", 'such as --labels "invoice,chart,photograph"')
    if "{}" not in template:
        raise QueryError(f"the template {template!r} has no {{}} for the label", 'such as "a scan of a {}"')
    return {label: template.replace("{}", label) for label in named}


def require_mixed(encoder: PageEncoder | None) -> MixedEncoder:
    """The encoder, if it compares texts with images.

    Raises:
        QueryError: It does not.
    """
    if isinstance(encoder, MixedEncoder):
        return encoder
    told = (
        f"{encoder.spec.family} gives no probabilities for labels" if encoder else "there is no image encoder"
    )
    raise QueryError(told, "choose a CLIP-like one, such as --image clip-vit-b-32; see `docrag models`")


def ranked(labels: Iterable[str], shares: Iterable[float]) -> dict[str, float]:
    """Labels with their probabilities, the most likely first."""
    rows = [(label, float(share)) for label, share in zip(labels, shares, strict=True)]
    return dict(sorted(rows, key=lambda row: -row[1]))


def _batches(pages: Iterable[Page]) -> Iterator[list[Page]]:
    batch: list[Page] = []
    for page in pages:
        batch.append(page)
        if len(batch) == AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
