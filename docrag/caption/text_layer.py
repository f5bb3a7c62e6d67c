"""Captions from a page's own text: the title, the headings, and the captions of figures and tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import dropwhile, pairwise
from statistics import median

from docrag.caption.base import Caption
from docrag.caption.title import distinct_terms, shorten_to_line, title_of
from docrag.types import Block, Page

CAPTION_LIMIT = 500
"""Characters of a whole caption."""
_ARROW = " \u203a "
"""Stands between the title and the headings."""
_HEADINGS = 3
_HEADING_LIMIT = 90
_FIGURES = 4
_FIGURE_LIMIT = 200
_FALLBACK_LIMIT = 240
_LARGER = 1.15
"""Letters this many times as high as those of the body are a heading; headings usually start at about 1.2."""

_NUMBER = r"(?:[A-Z]{0,2}[.-]?\d+(?:[.-]\d+)*[a-z]?|[IVX]+|[A-Z](?=[.:]))"
_FIGURE = re.compile(
    r"(?i:Figure|Fig\.?|Table|Chart|Exhibit|Box|Map|Plate|Scheme|Abbildung|Abb\.|Tabelle|Tab\.|Diagramm"
    r"|Figura|Cuadro|Tabla|Gráfico|Gráfica|Tableau|Graphique|Tabella|Quadro|Tabela)"
    # A caption goes on with a colon or a capital; "Figure 7 shows" is a sentence with a line break before it.
    rf"\s{{0,2}}{_NUMBER}(?:\s?[:.|\u2013\u2014-]\s*\S|\s+[A-Z(«\"“]|\s*$)"
)
_NAMED = (
    r"(?i:Item|Part|Note|Section|Chapter|Appendix|Annex|Article|Step|Schedule|Kapitel|Abschnitt|Anhang"
    r"|Capítulo|Sección|Anexo|Chapitre|Annexe|Artikel|Artículo)"
    r"\s+(?:\d+(?:\.\d+)?[A-Z]?|[IVX]+|[A-Z])\b[\s.:\u2013\u2014-]*"
)
_LEVELS = r"(?:\d{1,2}|[A-Z])(?:\.\d{1,2}){1,3}\.?\s+(?=[^\W\d_])"
_NUMBERED = re.compile(rf"{_NAMED}|{_LEVELS}")
# A single number also begins steps and table rows; a heading is short and does not end like a sentence.
_CHAPTER = re.compile(r"\d{1,2}\.?\s+[A-ZÄÖÜÉÁÍÓÚÑ][^\d.:;!?]{3,50}")
_STEP = re.compile(r"\d{1,2}[.)]?\s")
_RUN_IN = re.compile(rf"((?:{_NAMED}|{_LEVELS})[^.]{{3,70}})\.\s+\S")
"""A numbered heading that is followed by its paragraph on the same line."""
_BOILERPLATE = re.compile(
    r"table of contents|contents|page \d+( of \d+)?|confidential|draft|continued|\(?unaudited\)?"
    r"|.*\b(months|weeks|years?) ended\b.*|.*\((in )?(thousands|millions).*|as of \w+ \d+.*|see .*",
    re.IGNORECASE,
)


class TextLayerCaptioner:
    """Captions from the page's own headings and figure captions (`--caption text`)."""

    def caption(self, pages: Sequence[Page]) -> list[Caption]:
        """Return one caption per page, in order, of at most 500 characters each."""
        return [Caption(text_layer_caption(page)) for page in pages]

    def close(self) -> None:
        """Do nothing; there is nothing to release."""


class NoCaptioner:
    """Captions of title and page number only (`--caption none`), so that every point has a caption."""

    def caption(self, pages: Sequence[Page]) -> list[Caption]:
        """Return one caption per page, in order."""
        return [Caption(plain_caption(page)) for page in pages]

    def close(self) -> None:
        """Do nothing; there is nothing to release."""


def text_layer_caption(page: Page) -> str:
    """What the page is about, according to its text layer.

    Returns:
        1 to 500 characters on one line: title, headings and captions, such as "Harbour Ferries Annual Report,
        Revenue by segment. Table 2: Revenue in million crowns", with arrows between title and headings.
        For a page without headings and captions its first words, for a page without text its number.
    """
    title = title_of(page.document)
    title_terms = distinct_terms(title)
    figures = [figure for figure in _figures(page) if not _distinct_words(figure) <= title_terms][:_FIGURES]
    headings = [heading for heading in _headings(page) if not _distinct_words(heading) <= title_terms]
    if not headings and not figures:
        opening = shorten_to_line(_opening(page), _FALLBACK_LIMIT)
        if _distinct_words(opening) <= title_terms:
            return plain_caption(page)
        return f"{title}{_ARROW}{opening}"
    path = _ARROW.join([title, *headings])
    return shorten_to_line(". ".join([path, *figures]), CAPTION_LIMIT)


def plain_caption(page: Page) -> str:
    """The document's title and the page number, which are known without reading the page.

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
            yield shorten_to_line(" ".join(lines[start:end]), _FIGURE_LIMIT).rstrip(".")


def _headings(page: Page) -> list[str]:
    """Up to three headings in reading order; if there are more, the most obvious ones."""
    body = _body_size(page)
    ranks: dict[str, tuple[int, int]] = {}
    for position, block in enumerate(page.blocks):
        text = _heading_text(block)
        rank = _rank(text, block, body, page.blocks) if text else None
        if rank is not None:
            ranks.setdefault(text.rstrip(".:"), (rank, position))
    most_obvious = sorted(ranks, key=ranks.__getitem__)[:_HEADINGS]
    return sorted(most_obvious, key=lambda text: ranks[text][1])


def _heading_text(block: Block) -> str:
    """The part of a block that can be a heading, on one line; empty for running text.

    That is a short block as a whole, a numbered heading that is followed by its paragraph, or a first line
    that is much shorter than the lines below it.
    """
    lines = [" ".join(line.split()) for line in block.text.splitlines()]
    # A running head may be in one block with the heading below it.
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
    unlikely = (
        text.endswith((",", ";", "…", " of", " the", " and", " to"))
        or text[:1].islower()
        or text[:1] in "\u2022\u25aa\u25cf"
    )
    skip = unlikely or _BOILERPLATE.fullmatch(text) or _FIGURE.match(text)
    return text if readable and not skip else ""


def _rank(text: str, block: Block, body: float, blocks: Sequence[Block]) -> int | None:
    """How obvious it is that the text is a heading.

    Returns:
        0 for numbered, 1 for larger letters, 2 for capitals, 3 for title case; None for no heading.
    """
    if _NUMBERED.match(text) or _CHAPTER.fullmatch(text):
        return 0
    if _STEP.match(text):
        return None
    if body and block.size >= _LARGER * body:
        return 1
    words = text.split()
    # The headers of a table's columns stand side by side.
    if text.endswith(".") or any(_beside(block, other) for other in blocks):
        return None
    if text.isupper() and len(words) > 1:
        return 2
    content = [word for word in words if len(word) > 3]
    if content and len(words) <= 10 and all(word[0].isupper() or word[0] == "(" for word in content):
        return 3
    return None


def _beside(block: Block, other: Block) -> bool:
    """Whether the other block is level with this one, to its left or right."""
    (x0, y0, x1, y1), (u0, v0, u1, v1) = block.box, other.box
    return min(y1, v1) - max(y0, v0) > 0.3 * (y1 - y0) and (u0 >= x1 or u1 <= x0)


def _body_size(page: Page) -> float:
    """Median letter size of the page, weighted by length of text; 0 if sizes are unknown."""
    sizes = [block.size for block in page.blocks for _ in range(len(block.text) // 20) if block.size]
    return median(sizes) if sizes else 0.0


def _opening(page: Page) -> str:
    """The text of the page from its first line that is not a running head."""
    lines = page.text.splitlines()
    return " ".join(
        dropwhile(lambda line: not _distinct_words(line) or _BOILERPLATE.fullmatch(line.strip()), lines)
    )


def _distinct_words(text: str) -> set[str]:
    """The distinct words of a text in lower case, without its numbers."""
    return {term for term in distinct_terms(text) if not term.isdigit()}
