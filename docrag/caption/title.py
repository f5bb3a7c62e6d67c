"""What to call a document: the words of its file name, then what its headline or its metadata adds."""

from __future__ import annotations

import re

from docrag.types import Document

TITLE_LIMIT = 150
"""Characters; the title is among the terms and vectors of every page, so it must stay short."""
_DATE = re.compile(r"(\d{4})[-_.](\d{2})[-_.](\d{2})(?!\d)")
# A point between digits is part of a version: "v2.18.0".
_SEPARATORS = re.compile(r"(?:[\s_+~()\[\]-]|\.(?!\d)|(?<!\d)\.)+")
_LEADERS = re.compile(r"[_.·•=*\u2013\u2014-]{3,}|(?<!\S)(?:\S ){4,}\S(?!\S)")
"""Ruled lines, dot leaders, and l e t t e r s p a c e d lines, of which the words are lost."""
# "annualReport" and "report2023" and "2023Q4" have two words each; "10K", "y70" and "iPhone" have one.
_CAMEL = re.compile(r"(?<=[^\W\d_A-Z]{2})(?=[A-Z])|(?<=[A-Z]{2})(?=[A-Z][a-z]{2})")
_YEAR = re.compile(r"(?<=[^\W\d_]{3})(?=(?:19|20)\d{2}(?!\d))|(?<=(?<!\d)20\d{2})(?=[^\W\d_])")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_MACHINE_TOKEN = re.compile(
    r"(?=.*\d)[0-9a-f]{7,}|\d{5,}|(?=(?:.*\d){4})(?=.*[^\W\d_])\w{16,}", re.IGNORECASE
)
_MACHINE_NAME = re.compile(
    r"(?:(?:img|image|scan|scanned|scanner|dsc|dscn|dscf|pxl|pic|photo|screenshot|doc|document|dokument"
    r"|documento|file|page|pages|print|output|out|input|download|untitled|unnamed|unknown|new|copy|final"
    r"|draft|noname|temp|tmp|title|slide|presentation|powerpoint|microsoft|word|pdf|docx?|xlsx?|pptx?)\d*"
    r"|\d+|[a-z]?\d+[a-z]?)",
    re.IGNORECASE,
)
_TYPESETTER = re.compile(r"^Microsoft (?:Word|PowerPoint|Excel) - ", re.IGNORECASE)
_SUFFIX = re.compile(r"\.(?:pdf|docx?|pptx?|xlsx?|odt|rtf|tex|dvi|indd|qxd|html?)$", re.IGNORECASE)


def title_of(document: Document) -> str:
    """What the document is called: the words of its file name, and its headline or else its metadata title.

    Metadata titles come second since they are often accession numbers or those of a template.

    Returns:
        1 to 150 characters on one line. Where nothing says anything, the file name as it is.

    >>> title_of(Document("", ("in/AMCOR_2023Q4_EARNINGS.pdf",), 1, "Exhibit 99.1"))
    'AMCOR 2023 Q4 EARNINGS: Exhibit 99.1'
    >>> title_of(Document("", ("in/scan_0001.pdf",), 1, "", "Maintenance log of MV Skua"))
    'Maintenance log of MV Skua'
    """
    name = _words_of_name(document.name)
    headline = shorten(_LEADERS.sub(" ", document.headline), TITLE_LIMIT)
    title = headline or _words_of_metadata(document.title)
    parts = [name, title]
    if terms(title) <= terms(name):
        parts = [name]
    elif terms(name) <= terms(title):
        parts = [title]
    return shorten(": ".join(part for part in parts if part) or document.name, TITLE_LIMIT)


def shorten(text: str, limit: int) -> str:
    r"""The text on one line, cut between words so that it has at most `limit` characters.

    >>> shorten("Revenue  by\nsegment and year", 20)
    'Revenue by segment …'
    """
    line = " ".join(text.split())
    if len(line) <= limit:
        return line
    cut = line[: limit - 1]
    # A word that fills the line alone is cut inside.
    return (cut[: cut.rfind(" ") + 1] or cut) + "…"


def terms(text: str) -> set[str]:
    """The different words and numbers of a text, in lower case."""
    return set(re.findall(r"\w+", text.casefold()))


def _words_of_name(name: str) -> str:
    stem = _UUID.sub(" ", name.rpartition(".")[0] or name)
    # Capitals separate words only where nothing else does: "MacBook_Air" has its words already.
    if not _SEPARATORS.search(stem.strip()):
        stem = _CAMEL.sub(" ", stem)
    dated = _DATE.sub(r" \1/\2/\3 ", stem)
    tokens = [word for token in _SEPARATORS.split(dated) for word in _YEAR.sub(" ", token).split()]
    words = [token for token in tokens if not _MACHINE_TOKEN.fullmatch(token)]
    if all(_MACHINE_NAME.fullmatch(word) or "/" in word for word in words):
        return ""
    return re.sub(r"(\d{4})/(\d{2})/(\d{2})", r"\1-\2-\3", " ".join(words))


def _words_of_metadata(title: str) -> str:
    line = _TYPESETTER.sub("", " ".join(title.split()))
    if _SUFFIX.search(line):
        return _words_of_name(line)
    words = [word for word in _SEPARATORS.split(line) if not _MACHINE_TOKEN.fullmatch(word)]
    return "" if all(_MACHINE_NAME.fullmatch(word) for word in words if word) else line
