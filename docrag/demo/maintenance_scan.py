"""A scan of a typed maintenance log: grey, slightly askew, noisy, and without a text layer."""

from __future__ import annotations

import random
from io import BytesIO
from itertools import pairwise

import pymupdf
from PIL import Image, ImageChops, ImageFilter

from docrag.demo.typeset import GREY, HEIGHT, INK, WIDTH, Style, Typesetter

TITLE = "Scan 2024-02-12"
DPI = 130
_GRAIN = [128 + (level - 128) // 7 for level in range(256)]
_SHADE = [level // 10 for level in range(256)]

ENTRIES = [
    ("5 Feb", "Docked at Tornvik yard, slip 2. Shore power connected at 09:40."),
    (
        "6 Feb",
        "Port gearbox opened. Thrust bearing scored on the after face, depth 0.8 mm. Pinion teeth sound.",
    ),
    (
        "7 Feb",
        "Bearing ordered from the maker, 11 days by rail. 340 litres of oil drained: dark, with bronze dust.",
    ),
    (
        "8 Feb",
        "Oil cooler pressure tested at 6 bar. Two tubes leak and were plugged. New cooler advised.",
    ),
    ("9 Feb", "Stern tube seals renewed. Shaft run-out measured at 0.05 mm, limit 0.12 mm."),
    ("12 Feb", "Starboard gearbox inspected as a precaution. No findings. Filters changed."),
]


def build() -> pymupdf.Document:
    """Build one page that consists of a picture."""
    ink = typed()
    pixmap = ink.document[0].get_pixmap(dpi=DPI, colorspace=pymupdf.csGRAY)
    scan = _scanned(Image.frombytes("L", (pixmap.width, pixmap.height), pixmap.samples))
    buffer = BytesIO()
    scan.save(buffer, "JPEG", quality=42, optimize=True)
    document = pymupdf.open()
    page = document.new_page(width=WIDTH, height=HEIGHT)
    page.insert_image(page.rect, stream=buffer.getvalue())
    return document


def typed() -> Typesetter:
    """Set the page as it was before it was scanned."""
    sheet = Typesetter(Style(body="cour", bold="cobo", head="cobo", size=12.5, accent=INK, margin=70))
    sheet.page()
    sheet.heading("SKERRY LINES - ENGINE DEPARTMENT", 1.3)
    sheet.heading("Maintenance log, MV Kittiwake", 1.1)
    sheet.paragraph("Sheet 14. Chief engineer: B. Halloran")
    sheet.y += 8
    for day, text in ENTRIES:
        sheet.paragraph(text, indent=62, mark=day)
    sheet.y += 8
    sheet.paragraph(
        """Cause, in my opinion: the bearing ran short of oil during the gale of 21 January, when
        the ship rolled 25 degrees and the suction pipe drew air. A second pipe on the starboard
        side of the sump would prevent it."""
    )
    sheet.paragraph("Estimated return to service: 4 March.")
    _signature(sheet)
    return sheet


def _signature(sheet: Typesetter) -> None:
    x, y = sheet.left + 10, sheet.y + 34
    strokes = [
        (0, 0),
        (14, -26),
        (18, 4),
        (24, -12),
        (34, 2),
        (42, -14),
        (50, 2),
        (60, -22),
        (66, 3),
        (84, -8),
        (120, -4),
    ]
    pen = sheet.sheet.new_shape()
    for (a, b), (c, d) in pairwise(strokes):
        pen.draw_curve((x + a, y + b), (x + (a + c) / 2 + 4, y + b - 6), (x + c, y + d))
    pen.finish(color=INK, width=1.4, closePath=False)
    pen.commit()
    sheet.text(x, y + 20, "Tornvik, 12 February 2024", "cour", 10.5, GREY)


def _scanned(page: Image.Image) -> Image.Image:
    """The page from a worn scanner: 1.1 degrees askew, soft, grainy, speckled, and darker on one side."""
    rng = random.Random(14)
    page = page.rotate(1.1, resample=Image.Resampling.BICUBIC, fillcolor=255).filter(
        ImageFilter.GaussianBlur(0.5)
    )
    # Paper is not pure white, and ink is not pure black.
    page = page.point([50 + level * 185 // 255 for level in range(256)])
    grain = Image.frombytes("L", page.size, rng.randbytes(page.width * page.height)).point(_GRAIN)
    page = ImageChops.add(page, grain.filter(ImageFilter.GaussianBlur(0.6)), scale=1, offset=-128)
    shade = Image.linear_gradient("L").rotate(90).resize(page.size).point(_SHADE)
    page = ImageChops.subtract(page, shade)
    for _ in range(150):
        x, y = rng.randrange(page.width - 3), rng.randrange(page.height - 3)
        page.paste(rng.randrange(60, 140), (x, y, x + rng.randrange(1, 3), y + rng.randrange(1, 3)))
    return page
