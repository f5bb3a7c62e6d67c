"""A caption read off the page's own words: its title, its headings, its figure and table captions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import dropwhile, pairwise
from statistics import median

from docrag.caption.title import shorten, terms, title_of
from docrag.types import Block, Page

CAPTION_LIMIT = 500
"""Characters of a whole caption."""
_BELOW = " \u203a "
_HEADINGS = 3
_HEADING_LIMIT = 90
_FIGURES = 4
_FIGURE_LIMIT = 200
_FALLBACK_LIMIT = 240
_LARGER = 1.15
"""Letters this many times as high as the body's make a heading; printed headings start at about 1.2."""

_NUMBER = r"(?:[A-Z]{0,2}[.-]?\d+(?:[.-]\d+)*[a-z]?|[IVX]+|[A-Z](?=[.:]))"
_FIGURE = re.compile(
    r"(?i:Figure|Fig\.?|Table|Chart|Exhibit|Box|Map|Plate|Scheme|Abbildung|Abb\.|Tabelle|Tab\.|Diagramm"
    r"|Figura|Cuadro|Tabla|Gráfico|Gráfica|Tableau|Graphique|Tabella|Quadro|Tabela)"
    # A caption goes on with a colon or a capital; "Figure 7 shows" is a sentence that broke here.
    rf"\s{{0,2}}{_NUMBER}(?:\s?[:.|\u2013\u2014-]\s*\S|\s+[A-Z(«\"“]|\s*$)"
)
_NAMED = (
    r"(?i:Item|Part|Note|Section|Chapter|Appendix|Annex|Article|Step|Schedule|Kapitel|Abschnitt|Anhang"
    r"|Capítulo|Sección|Anexo|Chapitre|Annexe|Artikel|Artículo)"
    r"\s+(?:\d+(?:\.\d+)?[A-Z]?|[IVX]+|[A-Z])\b[\s.:\u2013\u2014-]*"
)
_LEVELS = r"(?:\d{1,2}|[A-Z])(?:\.\d{1,2}){1,3}\.?\s+(?=[^\W\d_])"
_NUMBERED = re.compile(rf"{_NAMED}|{_LEVELS}")
# One number alone also begins steps and table rows; a heading is short and does not end like a sentence.
_CHAPTER = re.compile(r"\d{1,2}\.?\s+[A-ZÄÖÜÉÁÍÓÚÑ][^\d.:;!?]{3,50}")
_STEP = re.compile(r"\d{1,2}[.)]?\s")
_RUN_IN = re.compile(rf"((?:{_NAMED}|{_LEVELS})[^.]{{3,70}})\.\s+\S")
"""A numbered heading with the paragraph behind it on the same line."""
_BOILERPLATE = re.compile(
    r"table of contents|contents|page \d+( of \d+)?|confidential|draft|continued|\(?unaudited\)?"
    r"|.*\b(months|weeks|years?) ended\b.*|.*\((in )?(thousands|millions).*|as of \w+ \d+.*|see .*",
    re.IGNORECASE,
)


def caption(page: Page) -> str:
    """What the page is about, from its text layer.

    Returns:
        1 to 500 characters on one line: title, headings and captions, such as "Harbour Ferries Annual Report,
        Revenue by segment. Table 2: Revenue in million crowns", with arrows between title and headings.
        A page without headings and captions gives its first words, one without text its number.
    """
    title = title_of(page.document)
    known = terms(title)
    figures = [figure for figure in _figures(page) if not _words(figure) <= known][:_FIGURES]
    headings = [heading for heading in _headings(page) if not _words(heading) <= known]
    if not headings and not figures:
        opening = shorten(_opening(page), _FALLBACK_LIMIT)
        return plain_caption(page) if _words(opening) <= known else f"{title}{_BELOW}{opening}"
    path = _BELOW.join([title, *headings])
    return shorten(". ".join([path, *figures]), CAPTION_LIMIT)


def plain_caption(page: Page) -> str:
    """The document's title and the page number: what can be said without reading the page.

    Returns:
        One line of at most about 170 characters.
    """
    return f"{title_of(page.document)}, page {page.number}"


def _figures(page: Page) -> Iterator[str]:
    """Figure and table captions in reading order, each with the rest of its block."""
    for block in page.blocks:
        lines = block.text.splitlines()
        starts = [i for i, line in enumerate(lines) if _FIGURE.match(line.strip())]
        for start, end in pairwise([*starts, len(lines)]):
            yield shorten(" ".join(lines[start:end]), _FIGURE_LIMIT).rstrip(".")


def _headings(page: Page) -> list[str]:
    """Up to three headings in reading order; where there are more, the plainest ones stay."""
    body = _body_size(page)
    ranks: dict[str, tuple[int, int]] = {}
    for position, block in enumerate(page.blocks):
        text = _heading_text(block)
        rank = _rank(text, block, body, page.blocks) if text else None
        if rank is not None:
            ranks.setdefault(text.rstrip(".:"), (rank, position))
    plainest = sorted(ranks, key=ranks.__getitem__)[:_HEADINGS]
    return sorted(plainest, key=lambda text: ranks[text][1])


def _heading_text(block: Block) -> str:
    """What of the block can be a heading, on one line; empty for plain text.

    A short block as a whole, a numbered heading with its paragraph behind it, or a first line that is much
    shorter than the lines below it.
    """
    lines = [" ".join(line.split()) for line in block.text.splitlines()]
    # A running head may be held together with the heading below it.
    lines = list(dropwhile(_BOILERPLATE.fullmatch, lines)) or [""]
    text = " ".join(lines)
    run_in = _RUN_IN.match(text)
    if run_in:
        text = run_in[1]
    elif len(text) > _HEADING_LIMIT:
        text = lines[0] if len(lines[0]) < 0.6 * max(map(len, lines)) else ""
    text = text.strip(" \u2013\u2014_-")
    letters = sum(map(str.isalpha, text))
    readable = len(text) <= _HEADING_LIMIT and letters >= 4 and letters >= 0.6 * len(text.replace(" ", ""))
    unlike = (
        text.endswith((",", ";", "…", " of", " the", " and", " to"))
        or text[:1].islower()
        or text[:1] in "\u2022\u25aa\u25cf"
    )
    skip = unlike or _BOILERPLATE.fullmatch(text) or _FIGURE.match(text)
    return text if readable and not skip else ""


def _rank(text: str, block: Block, body: float, blocks: Sequence[Block]) -> int | None:
    """How plainly the text is a heading.

    Returns:
        0 numbered, 1 larger letters, 2 capitals, 3 title case; None for no heading.
    """
    if _NUMBERED.match(text) or _CHAPTER.fullmatch(text):
        return 0
    if _STEP.match(text):
        return None
    if body and block.size >= _LARGER * body:
        return 1
    words = text.split()
    # The heads of a table's columns stand side by side.
    if text.endswith(".") or any(_beside(block, other) for other in blocks):
        return None
    if text.isupper() and len(words) > 1:
        return 2
    content = [word for word in words if len(word) > 3]
    return (
        3
        if content and len(words) <= 10 and all(word[0].isupper() or word[0] == "(" for word in content)
        else None
    )


def _beside(block: Block, other: Block) -> bool:
    """Whether the other block stands to the left or right of this one."""
    (x0, y0, x1, y1), (u0, v0, u1, v1) = block.box, other.box
    return min(y1, v1) - max(y0, v0) > 0.3 * (y1 - y0) and (u0 >= x1 or u1 <= x0)


def _body_size(page: Page) -> float:
    """Median letter size of the page, weighted by length of text; 0 where sizes are unknown."""
    sizes = [block.size for block in page.blocks for _ in range(len(block.text) // 20) if block.size]
    return median(sizes) if sizes else 0.0


def _opening(page: Page) -> str:
    """The page's text from its first line that is not a running head."""
    lines = page.text.splitlines()
    return " ".join(dropwhile(lambda line: not _words(line) or _BOILERPLATE.fullmatch(line.strip()), lines))


def _words(text: str) -> set[str]:
    return {term for term in terms(text) if not term.isdigit()}
