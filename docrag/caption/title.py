"""The title of a document, made from its file name and its headline or metadata title."""

from __future__ import annotations

import re

from docrag.types import Document

TITLE_LIMIT = 150
"""Characters; the title goes into the terms and vectors of every page, so it must stay short."""
_DATE = re.compile(r"(\d{4})[-_.](\d{2})[-_.](\d{2})(?!\d)")
# A dot between digits is part of a version number, such as "v2.18.0".
_SEPARATORS = re.compile(r"(?:[\s_+~()\[\]-]|\.(?!\d)|(?<!\d)\.)+")
_LEADERS = re.compile(r"[_.·•=*\u2013\u2014-]{3,}|(?<!\S)(?:\S ){4,}\S(?!\S)")
"""Ruled lines, dot leaders, and l e t t e r s p a c e d lines, whose words cannot be recovered."""
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
    """The title of a document: the words of its file name, then its headline or else its metadata title.

    A part that only repeats the other is left out. The headline is preferred to the metadata title, which is
    often an accession number or the title of a template.

    Returns:
        1 to 150 characters on one line; the unchanged file name if neither part says anything.

    >>> title_of(Document("", ("in/AMCOR_2023Q4_EARNINGS.pdf",), 1, "Exhibit 99.1"))
    'AMCOR 2023 Q4 EARNINGS: Exhibit 99.1'
    >>> title_of(Document("", ("in/scan_0001.pdf",), 1, "", "Maintenance log of MV Skua"))
    'Maintenance log of MV Skua'
    """
    name = _words_of_file_name(document.name)
    headline = shorten_to_line(_LEADERS.sub(" ", document.headline), TITLE_LIMIT)
    title = headline or _clean_metadata_title(document.title)
    parts = [name, title]
    if distinct_terms(title) <= distinct_terms(name):
        parts = [name]
    elif distinct_terms(name) <= distinct_terms(title):
        parts = [title]
    return shorten_to_line(": ".join(part for part in parts if part) or document.name, TITLE_LIMIT)


def shorten_to_line(text: str, limit: int) -> str:
    r"""The text on one line, cut between words so that it has at most `limit` characters.

    >>> shorten_to_line("Revenue  by\nsegment and year", 20)
    'Revenue by segment …'
    """
    line = " ".join(text.split())
    if len(line) <= limit:
        return line
    cut = line[: limit - 1]
    # A single word that fills the line is cut within.
    return (cut[: cut.rfind(" ") + 1] or cut) + "…"


def distinct_terms(text: str) -> set[str]:
    """The distinct words and numbers of a text, in lower case."""
    return set(re.findall(r"\w+", text.casefold()))


def _words_of_file_name(name: str) -> str:
    """The words of a file name, without ids and numbers that a machine gave; empty if none are left."""
    stem = _UUID.sub(" ", name.rpartition(".")[0] or name)
    # Capitals separate words only if nothing else does: "MacBook_Air" is separated already.
    if not _SEPARATORS.search(stem.strip()):
        stem = _CAMEL.sub(" ", stem)
    dated = _DATE.sub(r" \1/\2/\3 ", stem)
    tokens = [word for token in _SEPARATORS.split(dated) for word in _YEAR.sub(" ", token).split()]
    words = [token for token in tokens if not _MACHINE_TOKEN.fullmatch(token)]
    if all(_MACHINE_NAME.fullmatch(word) or "/" in word for word in words):
        return ""
    return re.sub(r"(\d{4})/(\d{2})/(\d{2})", r"\1-\2-\3", " ".join(words))


def _clean_metadata_title(title: str) -> str:
    """The title without the name of the program that wrote it; empty if it is an id or a default."""
    line = _TYPESETTER.sub("", " ".join(title.split()))
    if _SUFFIX.search(line):
        return _words_of_file_name(line)
    words = [word for word in _SEPARATORS.split(line) if not _MACHINE_TOKEN.fullmatch(word)]
    return "" if all(_MACHINE_NAME.fullmatch(word) for word in words if word) else line
