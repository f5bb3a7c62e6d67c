"""The pages of the documentation and the blocks of code on them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
LANGUAGES = {
    "sh": "run in one shell session per page",
    "python": "run as a script, in the same directory",
    "output": "what the block before it prints; ... stands for anything",
    "toml": "read as docrag.toml or pyproject.toml",
    "json": "parsed",
    "http": "a request to a Qdrant server, which local mode answers",
    "text": "not run: maps, sketches and lines that show a form",
}
"""Every language that a block may have, and what the tests do with it."""

_BLOCK = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def name_of(page: Path) -> str:
    """How tests call a page."""
    return str(page.relative_to(ROOT))


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text()
    return [
        Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2])
        for match in _BLOCK.finditer(text)
    ]


def blocks_in(language: str) -> list[Block]:
    """The blocks of all pages in one language."""
    return [block for page in PAGES for block in blocks_of(page) if block.language == language]


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head.

    Args:
        text: Of a page.
        heading: As it is written, with its number signs.
    """
    section = text.split(f"{heading}\n", 1)[1]
    lines = [line for line in re.split(r"\n#", section)[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines[2:]]
