"""Questions and judgements as files: queries.jsonl and qrels.tsv, in the layout of BEIR."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docrag.errors import SettingsError

Qrels = dict[str, dict[str, int]]
"""Query id -> corpus id (`file name#page`, page from 1) -> relevance, 0 for judged and not relevant."""

HEADER = "query-id\tcorpus-id\tscore"


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A question of a test collection."""

    id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """The benchmark it comes from; empty where the file does not say."""
        return str(self.metadata.get("source", ""))


def read_queries(path: Path) -> dict[str, JudgedQuery]:
    """Questions by id, in the order of the file.

    Args:
        path: One JSON object a line: {"_id", "text"} and maybe "metadata".

    Raises:
        SettingsError: The file cannot be read, or a line of it is malformed or repeats an id.
    """
    queries: dict[str, JudgedQuery] = {}
    for number, line in _lines(path):
        query = _query(line, f"{path}:{number}")
        if query.id in queries:
            raise SettingsError(
                f"{path}:{number}: query {query.id!r} stands there twice", "give each query its own _id"
            )
        queries[query.id] = query
    return queries


def read_qrels(path: Path) -> Qrels:
    """Judgements by query, in the order of the file.

    Args:
        path: Tab-separated with the header `query-id corpus-id score`.

    Raises:
        SettingsError: The file cannot be read, a line is malformed, or a page is judged twice differently.
    """
    qrels: Qrels = {}
    lines = _lines(path)
    if next(lines, (0, ""))[1] != HEADER:
        raise SettingsError(
            f"{path}:1: no header", "begin with query-id, corpus-id and score, separated by tabs"
        )
    for number, line in lines:
        query, page, score = _judgement(line, f"{path}:{number}")
        if qrels.setdefault(query, {}).setdefault(page, score) != score:
            raise SettingsError(
                f"{path}:{number}: {page} is judged twice for {query}", "keep one of the two scores"
            )
    return qrels


def _query(line: str, place: str) -> JudgedQuery:
    hint = 'write {"_id": "...", "text": "...", "metadata": {...}} on each line'
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{place}: not JSON: {error.msg}", hint) from error
    if not isinstance(row, dict):
        raise SettingsError(f"{place}: not a JSON object", hint)
    identifier, text, metadata = row.get("_id"), row.get("text"), row.get("metadata", {})
    if not isinstance(identifier, str) or not identifier:
        raise SettingsError(f"{place}: no _id", hint)
    if not isinstance(text, str) or not text.strip():
        raise SettingsError(f"{place}: no text", hint)
    if not isinstance(metadata, dict):
        raise SettingsError(f"{place}: metadata is not an object", hint)
    return JudgedQuery(identifier, text, metadata)


def _judgement(line: str, place: str) -> tuple[str, str, int]:
    fields = line.split("\t")
    if len(fields) != 3 or not all(fields):
        raise SettingsError(f"{place}: {len(fields)} fields", "three fields, separated by tabs")
    query, page, score = fields
    file, _, number = page.rpartition("#")
    if not file or not number.isdecimal() or int(number) < 1:
        raise SettingsError(f"{place}: no page: {page}", "write file name#page, pages from 1: report.pdf#12")
    if not score.isdecimal():
        raise SettingsError(f"{place}: not a score: {score}", "write a whole number, 0 for not relevant")
    return query, page, int(score)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1; a byte order mark and CRLF are harmless."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {error}", "give a readable UTF-8 file") from error
    # Not splitlines: JSON strings may hold U+2028 as it is.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.removesuffix("\r")
