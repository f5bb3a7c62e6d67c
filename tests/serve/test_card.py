"""A page as an SVG: what it holds, and how it says that it stands differently in a card."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET

import pytest
from PIL import Image

from docrag.serve.card import LARGEST_CARD, card_of

SVG = "{http://www.w3.org/2000/svg}"


def jpeg(width: int, height: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(content, "JPEG")
    return content.getvalue()


@pytest.mark.parametrize(("width", "height"), [(900, 1200), (1600, 900), (700, 700), (80, 60)])
def test_the_whole_page_is_in_it_in_its_own_shape(width: int, height: int):
    content = jpeg(width, height)
    root = ET.fromstring(card_of(content))
    image = root.find(f"{SVG}image")
    assert root.tag == f"{SVG}svg"
    assert root.get("viewBox") == f"0 0 {width} {height}"
    assert image is not None
    assert image.get("href") == "data:image/jpeg;base64," + base64.b64encode(content).decode()
    shown = int(root.get("width", "")), int(root.get("height", ""))
    assert shown[0] / shown[1] == pytest.approx(width / height, rel=0.01)
    assert min(shown) > LARGEST_CARD


def test_an_upright_page_is_moved_down_by_what_the_square_cuts_off_its_top():
    style = card_of(jpeg(900, 1200)).decode().partition("<style>")[2].partition("</style>")[0]
    assert style == "@media (max-width: 320px) { image { transform: translate(0, 150.0px) } }"


def test_a_wide_page_is_made_smaller_until_it_fits_the_square():
    style = card_of(jpeg(1600, 900)).decode().partition("<style>")[2].partition("</style>")[0]
    assert style.startswith("@media (max-height: 320px)")
    x, y, scale = map(float, re.findall(r"[\d.]+(?=px[,)]|\)\s})", style.partition("transform")[2]))
    assert (x, x + scale * 1600) == ((1600 - 900) / 2, (1600 + 900) / 2)
    assert y + scale * 900 / 2 == 450
