"""Five small documents for trying docrag, and questions that they answer. Their content is invented."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

__all__ = ["QUESTIONS", "Question", "documents"]


@dataclass(frozen=True, slots=True)
class Question:
    """A question that one page of the demo documents answers."""

    text: str
    file: str
    """Name of the file in the folder `documents()`."""
    page: int
    """From 1."""


QUESTIONS: tuple[Question, ...] = (
    Question(
        "How much did the ferry company earn from catering in 2023?", "skerry_lines_annual_report_2023.pdf", 3
    ),
    Question("Why did the ship's gearbox bearing get damaged?", "scan_20240212.pdf", 1),
    Question("What does it mean when the purifier's light flashes red four times?", "tarn12_manual.pdf", 4),
)


def documents() -> Path:
    """Return the folder of the demo documents, a real one, since docrag is never installed as a zip file."""
    return Path(str(files(__name__) / "documents"))
