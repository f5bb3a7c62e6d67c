"""What the tests of haystack_docrag share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from haystack import Document

from docrag.demo import QUESTIONS

FERRY, _, PURIFIER = QUESTIONS
MANUAL = PURIFIER.file
ANNUAL_REPORT = FERRY.file


def files_and_pages(documents: Sequence[Document]) -> list[tuple[str, int]]:
    return [(document.meta["file_name"], document.meta["page_number"]) for document in documents]


def comparison(field: str, operator: str, value: Any) -> dict[str, Any]:
    return {"field": field, "operator": operator, "value": value}


def group(operator: str, *conditions: Any) -> dict[str, Any]:
    return {"operator": operator, "conditions": list(conditions)}
