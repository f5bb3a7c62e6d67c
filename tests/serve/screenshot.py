"""Make docrag/serve/screenshot.png for the README: `python -m tests.serve.screenshot`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from docrag import Index, demo, serve
from tests.serve.browser.visitor import CHROMIUM, serving

TARGET = Path(serve.__file__).parent / "screenshot.png"
QUESTION = demo.QUESTIONS[0]


def main() -> None:
    """Search for the demo's first question, and save a screenshot of the results."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        index = Index.open(folder)
        index.ingest(demo.documents())
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        with serving(index, allow_ingest=True, folder=Path(folder)) as address:
            page = chromium.new_page(viewport={"width": 1240, "height": 860}, color_scheme="light")
            page.goto(f"{address}/?q={QUESTION.text}")
            page.wait_for_load_state("networkidle")
            page.screenshot(path=TARGET)
            page.close()
        chromium.close()
    with Image.open(TARGET) as shot:  # a palette takes a third of the bytes
        shot.convert("RGB").quantize(255, dither=Image.Dither.NONE).save(TARGET, optimize=True)


if __name__ == "__main__":
    main()
