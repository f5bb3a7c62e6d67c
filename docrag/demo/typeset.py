"""A small typesetter on top of PyMuPDF: headings, paragraphs, lists, tables and bar charts in columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pymupdf

Colour = tuple[float, float, float]
INK: Colour = (0.12, 0.12, 0.14)
GREY: Colour = (0.45, 0.45, 0.48)
WIDTH, HEIGHT = 595.0, 842.0
"""A4 in points."""
LEADING = 1.42
"""Distance between lines as a multiple of the letter size."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a document looks."""

    body: str = "tiro"
    bold: str = "tibo"
    head: str = "hebo"
    size: float = 10.5
    """Size of the body's letters, in points."""
    accent: Colour = (0.10, 0.30, 0.45)
    margin: float = 64.0
    columns: int = 1
    gutter: float = 22.0
    running: str = ""
    """The running head, printed at the top of every labelled page."""


class Typesetter:
    """Sets text from top to bottom, column by column; `y` is where the next element begins."""

    def __init__(self, style: Style) -> None:
        self.style = style
        self.document = pymupdf.open()
        self.column = 0
        self.top = self.y = style.margin

    @property
    def width(self) -> float:
        """Return the width of a column, in points."""
        style = self.style
        return (WIDTH - 2 * style.margin - (style.columns - 1) * style.gutter) / style.columns

    @property
    def left(self) -> float:
        """Return the left edge of the current column, in points."""
        return self.style.margin + self.column * (self.width + self.style.gutter)

    def page(self, label: str = "") -> None:
        """Begin a page; a page with a label has it printed at the foot, and the running head at the top."""
        self.sheet = self.document.new_page(width=WIDTH, height=HEIGHT)
        self.column, self.top, self.y = 0, self.style.margin, self.style.margin
        if label:
            self.text(WIDTH / 2, HEIGHT - 36, label, self.style.body, 9, GREY, align="centre")
            self.text(self.style.margin, 40, self.style.running, self.style.body, 8.5, GREY)

    def next_column(self) -> None:
        """Continue at the top of the next column of the page."""
        self.column += 1
        self.y = self.top

    def text(
        self, x: float, y: float, text: str, font: str, size: float, colour: Colour = INK, align: str = "left"
    ) -> None:
        """Set one line with its baseline at y; `align` says which part of the line is at x."""
        length = pymupdf.get_text_length(text, fontname=font, fontsize=size)
        shift = {"left": 0.0, "right": length, "centre": length / 2}[align]
        self.sheet.insert_text((x - shift, y), text, fontname=font, fontsize=size, color=colour)

    def heading(self, text: str, scale: float = 1.35) -> None:
        """Set a heading in the accent colour, wrapped, in letters `scale` times as large as the body's."""
        size = scale * self.style.size
        # The first heading of a column needs no space above it.
        self.y += size * 0.8 if self.y > self.top else 0
        self._lines(text, self.style.head, size, self.style.accent)
        self.y += size * 0.35

    def paragraph(
        self, text: str, indent: float = 0.0, mark: str = "", font: str = "", size: float = 0.0
    ) -> None:
        """Set a paragraph, wrapped; `mark`, a bullet or the number of a step, is put into the indent."""
        size = size or self.style.size
        if mark:
            self.text(self.left + 2, self.y + size, mark, self.style.bold, size, self.style.accent)
        self._lines(text, font or self.style.body, size, INK, indent)
        self.y += size * 0.6

    def steps(self, *texts: str) -> None:
        """Set numbered steps."""
        for number, text in enumerate(texts, start=1):
            self.paragraph(text, indent=22, mark=f"{number}.")

    def note(self, title: str, text: str, colour: Colour) -> None:
        """Set a warning in a box with a coloured edge."""
        top, self.y = self.y + 2, self.y + 9
        self.text(self.left + 14, self.y + 10, title, self.style.head, 11, colour)
        self.y += 15
        self._lines(text, self.style.body, self.style.size, INK, 14, right=10)
        box = pymupdf.Rect(self.left, top, self.left + self.width, self.y + 7)
        self.sheet.draw_rect(box, color=colour, width=0.6)
        self.sheet.draw_rect((box.x0, box.y0, box.x0 + 5, box.y1), color=None, fill=colour)
        self.y += 17

    def caption(self, text: str) -> None:
        """Set the caption of a figure or table."""
        self._lines(text, self.style.bold, self.style.size - 1, INK)
        self.y += 7

    def table(self, rows: Sequence[Sequence[str]], shares: Sequence[float], totals: bool = False) -> None:
        """Set a table with a ruled header; columns of numbers are aligned to the right.

        Args:
            rows: The cells; the first row is the header.
            shares: Width of each column as a share of the whole; they add up to 1.
            totals: Whether the last row holds totals, which are set in bold.
        """
        size, padding = self.style.size - 1, 5.0
        edges = [self.left + self.width * sum(shares[:i]) for i in range(len(shares) + 1)]
        self._rule(1.0)
        for position, row in enumerate(rows):
            strong = position == 0 or (totals and position == len(rows) - 1)
            font = self.style.bold if strong else self.style.body
            cells = [
                self._wrapped(cell, font, size, edges[i + 1] - edges[i] - 12) for i, cell in enumerate(row)
            ]
            for i, lines in enumerate(cells):
                figures = i > 0 and rows[-1][i][:1] in "-0123456789"
                x, align = (edges[i + 1] - 3, "right") if figures else (edges[i] + (9 if i else 3), "left")
                for n, line in enumerate(lines):
                    self.text(x, self.y + padding + size * (0.9 + n * LEADING), line, font, size, INK, align)
            self.y += 2 * padding + size * (1 + (max(map(len, cells)) - 1) * LEADING)
            self._rule(1.0 if position in {0, len(rows) - 1} else 0.3)
        self.y += 12

    def bars(
        self, values: Sequence[tuple[str, float]], unit: str, height: float = 150.0, step: float = 100
    ) -> None:
        """Set a bar chart with an axis from 0, gridlines `step` apart, and the value above each bar."""
        self.y += 8
        ceiling = step * (int(max(value for _, value in values) / step) + 1)
        x0, x1, base = self.left + 30, self.left + self.width, self.y + height + 14
        self.text(self.left, self.y, unit, self.style.body, 8, GREY)
        for n in range(int(ceiling / step) + 1):
            y = base - height * n * step / ceiling
            self.sheet.draw_line((x0, y), (x1, y), color=GREY, width=0.8 if n == 0 else 0.25)
            self.text(x0 - 5, y + 3, f"{n * step:g}", self.style.body, 8, GREY, "right")
        slot = (x1 - x0) / len(values)
        for n, (label, value) in enumerate(values):
            middle, top = x0 + slot * (n + 0.5), base - height * value / ceiling
            bar = pymupdf.Rect(middle - slot * 0.3, top, middle + slot * 0.3, base)
            self.sheet.draw_rect(bar, color=None, fill=self.style.accent)
            self.text(middle, top - 4, f"{value:g}", self.style.bold, 8.5, INK, "centre")
            self.text(middle, base + 12, label, self.style.body, 8.5, INK, "centre")
        self.y = base + 26

    def _lines(
        self, text: str, font: str, size: float, colour: Colour, indent: float = 0.0, right: float = 0.0
    ) -> None:
        for line in self._wrapped(text, font, size, self.width - indent - right):
            self.text(self.left + indent, self.y + size, line, font, size, colour)
            self.y += size * LEADING

    def _rule(self, width: float) -> None:
        self.sheet.draw_line((self.left, self.y), (self.left + self.width, self.y), color=INK, width=width)

    @staticmethod
    def _wrapped(text: str, font: str, size: float, width: float) -> list[str]:
        lines: list[str] = []
        for word in text.split():
            longer = f"{lines[-1]} {word}" if lines else word
            if lines and pymupdf.get_text_length(longer, fontname=font, fontsize=size) <= width:
                lines[-1] = longer
            else:
                lines.append(word)
        return lines or [""]
