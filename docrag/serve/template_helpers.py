"""What the templates call to turn hits, pages and documents into text, numbers and shapes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup, escape

from docrag.encode.texts import QUESTION_WORDS
from docrag.types import Box, Hit, IndexedPage, Region

SIGNALS = ("late", "cosine", "text")
"""The signals, in the order in which their scores are shown."""
SCORE_HINTS = {
    "score": "All signals combined; results are sorted by this",
    "late": "Each word of the question compared with the closest word or part of the page, summed",
    "cosine": "The whole question compared with the whole page, from -1 to 1",
    "text": "Words of the question that appear on the page; rare words count more (BM25)",
}
MODE_HINTS = {
    "hybrid": "All signals combined",
    "late": "Every word of the question, by meaning, anywhere on the page",
    "cosine": "The whole question compared with the whole page",
    "text": "Pages that contain the words themselves",
}
FRAME_MARGIN = 0.004
"""Distance between a region and its frame, as a fraction of the page."""
CROP_MARGIN = 0.02
"""How much of the page a crop shows around a region, as a fraction of the page."""
_WORD = re.compile(r"\w+")


class TextPart(NamedTuple):
    """A part of a text."""

    text: str
    highlighted: bool
    """Whether it is a word of the query."""


class ScoreBar(NamedTuple):
    """The score of one signal."""

    name: str
    number: str
    share: float
    """The score as a share of the best one among the hits, 0..1."""


class Badge(NamedTuple):
    """Where the number of a region is drawn, in points of the page."""

    x: float
    y: float
    radius: float


class Rect(NamedTuple):
    """A rectangle on a page."""

    x: float
    y: float
    width: float
    height: float


def query_words(query: str) -> frozenset[str]:
    """The content words of a query in lower case; all of its words where it has no content words.

    >>> sorted(query_words("What do four red flashes mean?"))
    ['flashes', 'four', 'mean', 'red']
    """
    words = frozenset(_WORD.findall(query.casefold()))
    return words - QUESTION_WORDS or words


def highlight(text: str, words: Set[str]) -> list[TextPart]:
    """Split a text at the words of a query.

    >>> highlight("A red lamp", {"lamps"})
    [TextPart(text='A red ', highlighted=False), TextPart(text='lamp', highlighted=True)]
    """
    matches = _matcher(words)
    parts: list[TextPart] = []
    end = 0
    for match in _WORD.finditer(text):
        if matches(match[0].casefold()):
            parts += [TextPart(text[end : match.start()], False), TextPart(match[0], True)]
            end = match.end()
    parts.append(TextPart(text[end:], False))
    return [part for part in parts if part.text]


def highlighted_excerpt(text: str, words: Set[str], length: int = 300) -> list[TextPart]:
    """The part of a text that holds most of the different words of a query, on one line.

    Args:
        text: Text of a region or a page.
        words: Words of the query, in lower case.
        length: Length of the excerpt in characters, approximately.
    """
    line = " ".join(text.split())
    if len(line) <= length:
        return highlight(line, words)
    matches = _matcher(words)
    placed = [(match.start(), match[0].casefold()) for match in _WORD.finditer(line)]
    found = [(position, word) for position, word in placed if matches(word)]

    def words_from(start: int) -> int:
        return len({word for position, word in found if start <= position < start + length})

    starts = [0, *(max(0, position - length // 5) for position, _ in found)]
    # max returns the first of several best starts: the excerpt begins with the text unless that loses words.
    start = max(starts, key=words_from)
    end = start + length
    if start > 0:  # whole words only
        space = line.find(" ", start, end)
        start = start if space < 0 else space + 1
    if end < len(line):
        space = line.rfind(" ", start, end)
        end = end if space < 0 else space
    before = "… " if start > 0 else ""
    after = " …" if end < len(line) else ""
    return highlight(f"{before}{line[start:end]}{after}", words)


def to_html(parts: Sequence[TextPart]) -> Markup:
    """Parts of a text as HTML, each of them escaped."""
    return Markup("").join(
        Markup("<mark>{}</mark>").format(part.text) if part.highlighted else escape(part.text)
        for part in parts
    )


def score_bars(hit: Hit, hits: Sequence[Hit]) -> list[ScoreBar]:
    """The scores of a hit beside the best of all hits: one bar for each signal that found it.

    A hit that several signals found has a bar for its overall score first: the one that orders the hits.
    """
    bars = []
    if len(hit.scores) > 1:
        bars.append(_score_bar("score", hit.score, [other.score for other in hits]))
    for signal in SIGNALS:
        if signal in hit.scores:
            scores = [other.scores.get(signal, 0.0) for other in hits]
            bars.append(_score_bar(signal, hit.scores[signal], scores))
    return bars


def _score_bar(name: str, score: float, scores: Sequence[float]) -> ScoreBar:
    best = max(scores)
    share = score / best if best else 0.0
    return ScoreBar(name, f"{score:.2f}", max(0.0, min(1.0, share)))


def frame(box: Box) -> Rect:
    """The frame around a region, slightly larger than its box, in fractions of the page."""
    x0, y0, x1, y1 = _grown(box, FRAME_MARGIN)
    return Rect(round(x0, 4), round(y0, 4), round(max(0.0, x1 - x0), 4), round(max(0.0, y1 - y0), 4))


def region_crop(region: Region, page: IndexedPage) -> Rect:
    """The part of a page to show for a region that has no text, in points of the page."""
    width, height = page_size(page)
    x0, y0, x1, y1 = _grown(region.box, CROP_MARGIN)
    return Rect(
        round(x0 * width, 1),
        round(y0 * height, 1),
        round((x1 - x0) * width, 1),
        round((y1 - y0) * height, 1),
    )


def region_badges(regions: Sequence[Region], page: IndexedPage) -> list[Badge]:
    """Where to draw the number of each region: at the top left of its frame, and within the page."""
    width, height = page_size(page)
    radius = round(width / 70, 1)
    badges = []
    for region in regions:
        corner = frame(region.box)
        x = min(max(corner.x * width, radius), width - radius)
        y = min(max(corner.y * height, radius), height - radius)
        badges.append(Badge(round(x, 1), round(y, 1), radius))
    return badges


def page_size(page: IndexedPage) -> tuple[int, int]:
    """Width and height of a page in points, at least 1; only their ratio matters."""
    metadata = page.metadata
    return max(1, round(metadata["width"])), max(1, round(metadata["height"]))


def file_name(source: str) -> str:
    """The file name of a path as ingested."""
    return Path(source).name


def document_title(title: str, source: str) -> str:
    """The title of a document without its file name, which is shown next to it; may be empty.

    >>> document_title("annual report: Skerry Lines", "in/annual_report.pdf")
    'Skerry Lines'
    """
    first, colon, rest = title.partition(": ")
    stem = _letters(Path(source).stem)
    if colon and _letters(first) == stem:
        return rest
    return "" if _letters(title) in {stem, _letters(Path(source).name)} else title


def page_headings(metadata: Mapping[str, object], length: int = 140) -> str:
    """The headings of a page: what its caption says besides the title of its document; may be empty.

    >>> page_headings({"title": "Annual report", "caption": "Annual report. Table 2: Fares"})
    'Table 2: Fares'
    >>> page_headings({"title": "Annual report", "caption": "Annual report, page 3"})
    ''
    """
    title, caption = str(metadata.get("title", "")), str(metadata.get("caption", ""))
    if not title or not caption.startswith(title):
        return ""
    headings = caption.removeprefix(title)
    if headings.startswith(", page "):
        return ""
    headings = headings.lstrip(" \u203a.")
    return headings if len(headings) <= length else f"{headings[:length].rpartition(' ')[0]} …"


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1945, "page"), counted(1, "document")
    ('1,945 pages', '1 document')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def printed_label(metadata: Mapping[str, object], number: int) -> str:
    """The label that is printed on a page; empty where it equals the page number."""
    label = str(metadata.get("page_label", ""))
    return "" if label == str(number) else label


def _grown(box: Box, margin: float) -> Box:
    """A box with a margin around it, cut off at the edges of the page."""
    x0, y0, x1, y1 = box
    return max(0.0, x0 - margin), max(0.0, y0 - margin), min(1.0, x1 + margin), min(1.0, y1 + margin)


def _letters(text: str) -> str:
    return "".join(_WORD.findall(text.casefold())).replace("_", "")


def _matcher(words: Set[str]) -> Callable[[str], bool]:
    """A function that tells whether a word is one of the words, ignoring an ending of up to three letters.

    It is called for every word of every page that is shown, so it only compares words that begin alike.
    """
    by_beginning: dict[str, list[str]] = {}
    for word in words:
        if len(word) > 3:
            by_beginning.setdefault(word[:4], []).append(word)

    def matches(word: str) -> bool:
        if word in words:
            return True
        alike = by_beginning.get(word[:4]) if len(word) > 3 else None
        return alike is not None and any(
            abs(len(word) - len(other)) <= 3 and (word.startswith(other) or other.startswith(word))
            for other in alike
        )

    return matches
