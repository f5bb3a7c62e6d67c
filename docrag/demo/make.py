"""Makes the demo documents: `python -m docrag.demo.make`.

The same version of PyMuPDF writes the same bytes each time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pymupdf

from docrag.demo import documents, ferry_report, maintenance_scan, purifier_manual, tide_paper, waerme_info

BUILDERS: dict[str, tuple[str, Callable[[], pymupdf.Document]]] = {
    "skerry_lines_annual_report_2023.pdf": (ferry_report.TITLE, ferry_report.build),
    "tide_gauge_paper.pdf": (tide_paper.TITLE, tide_paper.build),
    "scan_20240212.pdf": (maintenance_scan.TITLE, maintenance_scan.build),
    "tarn12_manual.pdf": (purifier_manual.TITLE, purifier_manual.build),
    "nahwaerme_moorwinkel.pdf": (waerme_info.TITLE, waerme_info.build),
}
"""File name -> title and builder."""


def make(folder: Path) -> list[Path]:
    """Write every demo document into the folder and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (title, build) in BUILDERS.items():
        (folder / name).write_bytes(_bytes(title, build))
    return [folder / name for name in BUILDERS]


def _bytes(title: str, build: Callable[[], pymupdf.Document]) -> bytes:
    document = build()
    for page in document:
        page.clean_contents()
    # A date or a random file id would change the bytes with every run.
    document.set_metadata({"title": title, "creator": "docrag demo"})
    data: bytes = document.tobytes(garbage=4, deflate=True, no_new_id=True)
    return data


if __name__ == "__main__":
    make(documents())
