"""How hits and pages look in words: what the templates call."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from markupsafe import Markup, escape

from docrag.encode.texts import QUESTION_WORDS
from docrag.types import Box, Hit, IndexedDocument, IndexedPage, Region, page_id

SIGNALS = ("late", "cosine", "text")
"""In the order in which their scores are shown."""
SCORE_HINTS = {
    "score": "All signals together: the list stands in this order",
    "late": "Each word of the question beside the word or part of the page that comes closest, added up",
    "cosine": "The question as a whole beside the page as a whole, -1 to 1",
    "text": "Words of the question that stand on the page; rare ones count more (BM25)",
}
MODE_HINTS = {
    "hybrid": "All signals together",
    "late": "Every word of the question, by meaning, somewhere on the page",
    "cosine": "The question as a whole beside the page as a whole",
    "text": "Pages that hold the words themselves",
}
MARGIN = 0.004
"""Between a region and its frame, in page units."""
_WORD = re.compile(r"\w+")


class Piece(NamedTuple):
    """A part of a text."""

    text: str
    marked: bool
    """Whether it is a word of the query."""


class Bar(NamedTuple):
    """The score of one signal."""

    name: str
    number: str
    share: float
    """Of the best score among the hits, 0..1."""


class Badge(NamedTuple):
    """Where the number of a region stands, in the page's points."""

    x: float
    y: float
    radius: float


class Rect(NamedTuple):
    """Where a region is framed, in page units."""

    x: float
    y: float
    width: float
    height: float


def words_of(query: str) -> frozenset[str]:
    """The words of a query that say something, in lower case; all of them where none does.

    >>> sorted(words_of("What do four red flashes mean?"))
    ['flashes', 'four', 'mean', 'red']
    """
    words = frozenset(_WORD.findall(query.casefold()))
    return words - QUESTION_WORDS or words


def pieces(text: str, words: Set[str]) -> list[Piece]:
    """A text cut at the words of a query.

    >>> pieces("A red lamp", {"lamps"})
    [Piece(text='A red ', marked=False), Piece(text='lamp', marked=True)]
    """
    found: list[Piece] = []
    end = 0
    for match in _WORD.finditer(text):
        if _alike(match[0].casefold(), words):
            found += [Piece(text[end : match.start()], False), Piece(match[0], True)]
            end = match.end()
    return [piece for piece in [*found, Piece(text[end:], False)] if piece.text]


def excerpt(text: str, words: Set[str], most: int = 300) -> list[Piece]:
    """The part of a text where most different words of a query stand, on one line.

    Args:
        text: Of a region or a page.
        words: Of the query, in lower case.
        most: Characters, about.
    """
    line = " ".join(text.split())
    if len(line) <= most:
        return pieces(line, words)
    stands = [(m.start(), m[0].casefold()) for m in _WORD.finditer(line) if _alike(m[0].casefold(), words)]
    starts = [0, *(max(0, at - most // 5) for at, _ in stands)]
    # max gives the first of the best ones, so a text is cut at its beginning unless that loses words.
    start = max(starts, key=lambda first: len({word for at, word in stands if first <= at < first + most}))
    end = start + most
    before, after = start > 0, end < len(line)
    cut = line[line.find(" ", start) + 1 if before else 0 : line.rfind(" ", start, end) if after else None]
    return pieces(f"{'… ' if before else ''}{cut}{' …' if after else ''}", words)


def marked(parts: Sequence[Piece]) -> Markup:
    """Pieces as HTML, each text escaped."""
    return Markup("").join(
        Markup("<mark>{}</mark>").format(part.text) if part.marked else escape(part.text) for part in parts
    )


def bars(hit: Hit, hits: Sequence[Hit]) -> list[Bar]:
    """The scores of a hit, beside those of the others: that by which they are ordered, and each signal's."""
    best = max(other.score for other in hits)
    whole = [Bar("score", f"{hit.score:.2f}", max(0.0, min(1.0, hit.score / best if best else 0.0)))]
    return (whole if len(hit.scores) > 1 else []) + [
        Bar(signal, f"{hit.scores[signal]:.2f}", max(0.0, min(1.0, hit.scores[signal] / best)))
        for signal in SIGNALS
        if signal in hit.scores
        and (best := max(other.scores.get(signal, 0.0) for other in hits) or 1.0)  # never 0
    ]


def rect(box: Box) -> Rect:
    """The frame of a box, a little larger, within the page."""
    x0, y0, x1, y1 = box
    left, top = max(0.0, x0 - MARGIN), max(0.0, y0 - MARGIN)
    right, bottom = min(1.0, x1 + MARGIN), min(1.0, y1 + MARGIN)
    return Rect(*(round(side, 4) for side in (left, top, max(0.0, right - left), max(0.0, bottom - top))))


def crop(region: Region, page: IndexedPage, around: float = 0.02) -> Rect:
    """The part of a page to show for a region that has no text, in the page's points."""
    width, height = size(page)
    x0, y0, x1, y1 = region.box
    left, top = max(0.0, x0 - around), max(0.0, y0 - around)
    right, bottom = min(1.0, x1 + around), min(1.0, y1 + around)
    sides = left * width, top * height, (right - left) * width, (bottom - top) * height
    return Rect(*(round(side, 1) for side in sides))


def badges(regions: Sequence[Region], page: IndexedPage) -> list[Badge]:
    """A number for each region, on the left end of its upper edge and within the page."""
    width, height = size(page)
    radius = round(width / 70, 1)
    return [
        Badge(
            round(min(max(rect(region.box).x * width, radius), width - radius), 1),
            round(min(max(rect(region.box).y * height, radius), height - radius), 1),
            radius,
        )
        for region in regions
    ]


def size(page: IndexedPage) -> tuple[int, int]:
    """Width and height of a page in points; only their relation matters."""
    metadata = page.metadata
    return max(1, round(metadata["width"])), max(1, round(metadata["height"]))


def name(source: str) -> str:
    """The file name of a path as ingested."""
    return Path(source).name


def headline(title: str, source: str) -> str:
    """A title without the words of the file name, which is shown beside it; empty where no more is there.

    >>> headline("annual report: Skerry Lines", "in/annual_report.pdf")
    'Skerry Lines'
    """
    first, colon, rest = title.partition(": ")
    stem = _letters(Path(source).stem)
    if colon and _letters(first) == stem:
        return rest
    return "" if _letters(title) in {stem, _letters(Path(source).name)} else title


def about(metadata: Mapping[str, object], most: int = 140) -> str:
    """What a page's caption says beside the title of its document: its headings; empty where it is no more.

    >>> about({"title": "Annual report", "caption": "Annual report. Table 2: Fares"})
    'Table 2: Fares'
    >>> about({"title": "Annual report", "caption": "Annual report, page 3"})
    ''
    """
    title, caption = str(metadata.get("title", "")), str(metadata.get("caption", ""))
    told = caption.removeprefix(title) if title and caption.startswith(title) else ""
    told = "" if told.startswith(", page ") else told.lstrip(" \u203a.")
    return told if len(told) <= most else f"{told[:most].rpartition(' ')[0]} …"


def count(number: int, of: str) -> str:
    """A number of things in words.

    >>> count(1945, "page"), count(1, "document")
    ('1,945 pages', '1 document')
    """
    return f"{number:,} {of}{'' if number == 1 else 's'}"


def picture(page: IndexedPage | IndexedDocument, width: int | None = None, number: int | None = None) -> str:
    """The address of a page's picture, the first page of a document by default."""
    document = page.id if isinstance(page, IndexedDocument) else page.document_id
    at = number or (page.page if isinstance(page, IndexedPage) else 1)
    return f"/pages/{document}/{at}.jpg{f'?w={width}' if width else ''}"


def page_of(document: IndexedDocument, number: int) -> str:
    """The id of a page of a document."""
    return page_id(document.id, number)


def heat(page: str, word: int, query: str) -> str:
    """The address of a word's heatmap over a page."""
    return f"/v1/pages/{page}/heatmap/{word}.png?{urlencode({'q': query}, errors='replace')}"


def label(metadata: Mapping[str, object], number: int) -> str:
    """What is printed on a page, where that is not its number; else empty."""
    printed = str(metadata.get("page_label", ""))
    return "" if printed == str(number) else printed


def _letters(text: str) -> str:
    return "".join(_WORD.findall(text.casefold())).replace("_", "")


def _alike(word: str, words: Set[str]) -> bool:
    """Whether a word is one of some words, give or take an ending."""
    if word in words:
        return True
    return len(word) > 3 and any(
        len(other) > 3
        and abs(len(word) - len(other)) <= 3
        and (word.startswith(other) or other.startswith(word))
        for other in words
    )
