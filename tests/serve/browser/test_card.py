"""A page in Qdrant's dashboard: its top in the square of a card, the whole page after a click."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pymupdf
import pytest
from PIL import Image

from docrag import Index
from tests.serve.browser.visitor import IN_CHROMIUM, serving

pytestmark = [*IN_CHROMIUM, pytest.mark.slow]

CARD = "width: {0}px; height: {0}px; object-fit: cover"
"""How the dashboard draws a picture: 120 pixels in the list of points, 300 beside a chart."""
WHOLE = "max-width: 100%; max-height: 100%"


def coloured_pdf(path: Path, width: int, height: int) -> Path:
    """A page in three bands: red at the top, green, and blue at the bottom."""
    with pymupdf.open() as document:
        page = document.new_page(width=width, height=height)
        for number, colour in enumerate(((1, 0, 0), (0, 1, 0), (0, 0, 1))):
            band = (0, height * number / 3, width, height * (number + 1) / 3)
            page.draw_rect(band, color=colour, fill=colour)
        document.save(path)
    return path


def drawn(browser: Any, address: str, style: str) -> np.ndarray:
    """The pixels of the image in a page of another site, as (height, width, 3)."""
    tab = browser.new_page(viewport={"width": 1600, "height": 2400})
    tab.set_content(
        f"<body style='margin: 0'><img style='{style}' src='{address}'></body>", wait_until="load"
    )
    tab.wait_for_function("document.querySelector('img').complete")
    picture = tab.locator("img").screenshot()
    tab.close()
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def colour_at(pixels: np.ndarray, x: float, y: float) -> str:
    """The name of the colour at a place, in shares of width and height."""
    red, green, blue = pixels[int(y * (len(pixels) - 1)), int(x * (pixels.shape[1] - 1))]
    names = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
    return min(names, key=lambda name: sum(abs(np.array(names[name]) - (red, green, blue))))


def test_a_card_shows_the_top_of_a_page_and_a_click_the_whole(browser: Any, tmp_path: Path):
    coloured_pdf(tmp_path / "upright.pdf", 600, 1000)
    coloured_pdf(tmp_path / "wide.pdf", 1000, 600)
    index = Index.open(tmp_path / "index")
    index.ingest([tmp_path / "upright.pdf", tmp_path / "wide.pdf"])
    ids = {document.file.rpartition("/")[2]: document.id for document in index.documents()}
    with serving(index) as home:

        def look(file: str, style: str, query: str = "?card=1") -> np.ndarray:
            return drawn(browser, f"{home}/pages/index/{ids[file]}/1.jpg{query}", style)

        for side in (120, 300):
            card = look("upright.pdf", CARD.format(side))
            assert card.shape[:2] == (side, side)
            # The square shows the upper 60 %: red down to 5/9 of it, then green, and no blue.
            assert [colour_at(card, 0.5, y) for y in (0.02, 0.5, 0.62, 0.98)] == [
                "red",
                "red",
                "green",
                "green",
            ]
            card = look("wide.pdf", CARD.format(side))
            places = (0.05, 0.25, 0.5, 0.75, 0.95)
            assert [colour_at(card, 0.02, y) for y in places] == ["white", "red", "green", "blue", "white"]
        cut = look("upright.pdf", CARD.format(120), query="")
        assert [colour_at(cut, 0.5, y) for y in (0.02, 0.5, 0.98)] == [
            "red",
            "green",
            "blue",
        ]  # of the middle
        for file in ids:
            whole, plain = look(file, WHOLE), look(file, WHOLE, query="")
            assert whole.shape == plain.shape
            assert np.abs(whole - plain).mean() < 2
