"""Zero-shot classification of pages: a CLIP-like encoder compares each page with the labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from docrag.encode.base import MixedEncoder, PageEncoder
from docrag.errors import QueryError
from docrag.search.filters import Filter, metadata_filter
from docrag.store.base import Store
from docrag.types import IMAGE, Page

ENCODE_BATCH = 16
"""Pages encoded together."""
READ_BATCH = 256
"""Vectors read from the store together."""


@dataclass(frozen=True, slots=True)
class LabelledPage:
    """A page with the probability of each label."""

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
    prompt_of = prompts(labels, template)
    mixed = require_mixed(encoder)
    ids = [record.id for record in store.scroll(metadata_filter(filter), payload=["metadata.page"])]
    pages = []
    for start in range(0, len(ids), READ_BATCH):
        batch = ids[start : start + READ_BATCH]
        for record in store.retrieve(batch, vectors=[IMAGE], payload=["metadata"]):
            metadata = record.payload["metadata"]
            vector = np.asarray(record.vectors[IMAGE], np.float32)
            pages.append((metadata["source"], metadata["page"] + 1, vector))
    if not pages:
        return []
    pages.sort(key=lambda page: page[:2])
    shares = mixed.label(np.stack([vector for *_, vector in pages]), list(prompt_of.values()))
    return [
        LabelledPage(file, number, ranked(prompt_of, row))
        for (file, number, _), row in zip(pages, shares, strict=True)
    ]


def label_pages(
    pages: Iterable[Page], encoder: PageEncoder | None, labels: Sequence[str], template: str
) -> Iterator[LabelledPage]:
    """Label pages as they are read.

    Raises:
        QueryError: There are no labels, or the encoder cannot compare texts with images.
    """
    prompt_of = prompts(labels, template)
    mixed = require_mixed(encoder)
    for batch in _batches(pages):
        vectors = np.stack([multi.vectors[0] for multi in mixed.encode_pages(batch)])
        shares = mixed.label(vectors, list(prompt_of.values()))
        for page, row in zip(batch, shares, strict=True):
            yield LabelledPage(page.document.sources[0], page.number, ranked(prompt_of, row))


def prompts(labels: Sequence[str], template: str) -> dict[str, str]:
    """The text that the encoder compares, for each label.

    Raises:
        QueryError: There are no labels, or the template has no {} for them.

    >>> prompts(["invoice", " chart "], "a scan of a {}")
    {'invoice': 'a scan of a invoice', 'chart': 'a scan of a chart'}
    """
    # A terminal may give lone surrogates, which encoders cannot read.
    names = [label.strip().encode(errors="replace").decode() for label in labels if label.strip()]
    if not names:
        raise QueryError("there are no labels", 'such as --labels "invoice,chart,photograph"')
    if "{}" not in template:
        raise QueryError(f"the template {template!r} has no {{}} for the label", 'such as "a scan of a {}"')
    return {label: template.replace("{}", label) for label in names}


def require_mixed(encoder: PageEncoder | None) -> MixedEncoder:
    """The encoder, provided that it compares texts with images.

    Raises:
        QueryError: It does not.
    """
    if isinstance(encoder, MixedEncoder):
        return encoder
    message = (
        f"{encoder.spec.family} gives no probabilities for labels" if encoder else "there is no image encoder"
    )
    raise QueryError(
        message, "choose a CLIP-like encoder, such as --image clip-vit-b-32; see `docrag models`"
    )


def ranked(labels: Iterable[str], shares: Iterable[float]) -> dict[str, float]:
    """Labels with their probabilities, the most likely first."""
    rows = [(label, float(share)) for label, share in zip(labels, shares, strict=True)]
    return dict(sorted(rows, key=lambda row: -row[1]))


def _batches(pages: Iterable[Page]) -> Iterator[list[Page]]:
    batch: list[Page] = []
    for page in pages:
        batch.append(page)
        if len(batch) == ENCODE_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
