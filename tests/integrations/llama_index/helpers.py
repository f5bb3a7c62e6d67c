"""What the tests of llama_index_docrag share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from docrag.demo import QUESTIONS

FERRY_QUESTION, _, PURIFIER_QUESTION = QUESTIONS
ANNUAL_REPORT = FERRY_QUESTION.file
MANUAL = PURIFIER_QUESTION.file


def files_and_pages(nodes: Sequence[Any]) -> list[tuple[str, int]]:
    return [(node.metadata["file_name"], node.metadata["page_number"]) for node in nodes]
