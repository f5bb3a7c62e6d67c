"""Small documents, pages and images for tests."""

from __future__ import annotations

import io
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pymupdf
from PIL import Image, ImageDraw

from docrag.types import Block, Document, Page, PageImage, Word

FERRY = "The ferry timetable of the northern islands. Departures from the east harbour at dawn."
APPLE = "Apple orchards need pruning in late winter. Storage of apples in cold cellars."
CLOCK = "Clock repair: the escapement wheel and the pendulum must be cleaned and oiled."


def write_pdf(path: Path, *pages: str) -> Path:
    """Write a PDF with one page for each text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pymupdf.open() as file:
        for text in pages:
            file.new_page(width=400, height=500).insert_textbox((40, 40, 360, 460), text, fontsize=12)
        file.save(path, no_new_id=True)
    return path


def copy_index(index: Path, where: Path) -> Path:
    """Copy an index that is not open; `cp` keeps its files sparse: 12 MB are written instead of 333."""
    subprocess.run(["cp", "-R", index, where], check=True)
    return where


def later(path: Path) -> None:
    """Change the modification time of a file, so that it is not taken for unchanged."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))


def make_page(text: str, *, title: str = "", number: int = 1, document_id: str = "ab" * 32) -> Page:
    """Make a page with one block for each line, whose words are spread over the width."""
    words: list[Word] = []
    blocks: list[Block] = []
    for row, line in enumerate(text.splitlines()):
        y = 0.05 + 0.05 * row
        width = 0.8 / max(1, len(line.split()))
        for column, word in enumerate(line.split()):
            x = 0.1 + width * column
            words.append(Word(word, (x, y, x + 0.9 * width, y + 0.02), row))
        blocks.append(Block(line, (0.1, y, 0.9, y + 0.02), 0.02))
    document = Document(document_id, ("folder/report.pdf",), 3, title)
    return Page(document, number, str(number), 612, 792, tuple(words), tuple(blocks))


def make_image(seed: int, width: int = 300, height: int = 400) -> Image.Image:
    """Make a picture of coloured boxes that depends on the seed."""
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    for i in range(12):
        x, y = (seed * 97 + i * 61) % width, (seed * 53 + i * 89) % height
        ink = ((seed * 40 + i * 20) % 256, (i * 70) % 256, (seed * 90) % 256)
        draw.rectangle((x, y, x + width // 4, y + height // 6), fill=ink)
    return image


def picture_page(seed: int, width: int = 300, height: int = 400) -> Page:
    """Make a page with a picture and a line of text."""
    content = io.BytesIO()
    make_image(seed, width, height).save(content, "JPEG", quality=95)
    page = make_page(f"Page with picture {seed}", number=seed + 1)
    return replace(page, image=PageImage(content.getvalue(), width, height))
