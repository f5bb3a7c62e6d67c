"""Reads questions and judgements from queries.jsonl and qrels.tsv, whose format is that of BEIR."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docrag.errors import SettingsError

Qrels = dict[str, dict[str, int]]
"""Query id -> corpus id (`file name#page`, page from 1) -> relevance; 0 means judged as not relevant."""

HEADER = "query-id\tcorpus-id\tscore"


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A question of a test collection."""

    id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """Return the benchmark from which it comes; empty if the file does not say."""
        return str(self.metadata.get("source", ""))


def read_queries(path: Path) -> dict[str, JudgedQuery]:
    """Read questions; the result has their ids as keys, in the order of the file.

    Args:
        path: A file with one JSON object per line: {"_id", "text"} and optionally "metadata".

    Raises:
        SettingsError: The file cannot be read, or one of its lines is malformed or repeats an id.
    """
    queries: dict[str, JudgedQuery] = {}
    for number, line in _lines(path):
        query = _query(line, f"{path}:{number}")
        if query.id in queries:
            raise SettingsError(
                f"{path}:{number}: query {query.id!r} occurs twice", "give each query its own _id"
            )
        queries[query.id] = query
    return queries


def read_qrels(path: Path) -> Qrels:
    """Read judgements; the result has query ids as keys, in the order of the file.

    Args:
        path: A tab-separated file with the header `query-id corpus-id score`.

    Raises:
        SettingsError: The file cannot be read, a line is malformed, or a page is judged twice differently.
    """
    qrels: Qrels = {}
    lines = _lines(path)
    if next(lines, (0, ""))[1] != HEADER:
        raise SettingsError(
            f"{path}:1: no header", "the first line must be query-id, corpus-id and score, separated by tabs"
        )
    for number, line in lines:
        query, page, score = _judgement(line, f"{path}:{number}")
        if qrels.setdefault(query, {}).setdefault(page, score) != score:
            raise SettingsError(
                f"{path}:{number}: {page} is judged twice for {query}", "keep one of the two scores"
            )
    return qrels


def _query(line: str, location: str) -> JudgedQuery:
    hint = 'write {"_id": "...", "text": "...", "metadata": {...}} on each line'
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{location}: not JSON: {error.msg}", hint) from error
    if not isinstance(row, dict):
        raise SettingsError(f"{location}: not a JSON object", hint)
    identifier, text, metadata = row.get("_id"), row.get("text"), row.get("metadata", {})
    if not isinstance(identifier, str) or not identifier:
        raise SettingsError(f"{location}: no _id", hint)
    if not isinstance(text, str) or not text.strip():
        raise SettingsError(f"{location}: no text", hint)
    if not isinstance(metadata, dict):
        raise SettingsError(f"{location}: metadata is not an object", hint)
    return JudgedQuery(identifier, text, metadata)


def _judgement(line: str, location: str) -> tuple[str, str, int]:
    fields = line.split("\t")
    if len(fields) != 3 or not all(fields):
        raise SettingsError(f"{location}: {len(fields)} fields", "write three fields, separated by tabs")
    query, page, score = fields
    file, _, number = page.rpartition("#")
    if not file or not number.isdecimal() or int(number) < 1:
        raise SettingsError(
            f"{location}: no page number: {page}",
            "write file name#page, such as report.pdf#12",
        )
    if not score.isdecimal():
        raise SettingsError(f"{location}: not a score: {score}", "write a whole number, 0 for not relevant")
    return query, page, int(score)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1; a byte order mark and CRLF are accepted."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {error}", "give a readable UTF-8 file") from error
    # Not splitlines(), which would also split at a U+2028 inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.removesuffix("\r")
