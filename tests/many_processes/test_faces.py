"""Notebooks, servers, assistants and commands that use one index at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from docrag import Settings
from docrag.operations.stop import stop_engine
from tests.benchmarks.index_users import mcp_session, running
from tests.samples import APPLE, FERRY, write_pdf

pytestmark = pytest.mark.slow

QUESTION = "What do four red flashes mean?"

RETRIEVER_CELL = """
from langchain_docrag import DocragRetriever

retriever = DocragRetriever.from_folder(folder, index=index)
found = [document.metadata["file_name"] for document in retriever.invoke("When do the ferries depart?")]
"""
INDEX_CELL = """
from docrag import Index

opened = Index.open(index)
found = [hit.page for hit in opened.search("What do four red flashes mean?")]
"""


def docrag(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "docrag", *map(str, arguments)]


def output_of(command: Sequence[str]) -> Any:
    """The JSON that a command prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_cell_with_a_retriever_can_be_run_five_times(tmp_path: Path):
    write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY)
    write_pdf(tmp_path / "docs" / "apple.pdf", APPLE)
    notebook: dict[str, Any] = {"folder": tmp_path / "docs", "index": tmp_path / "index"}
    try:
        for _ in range(5):
            exec(RETRIEVER_CELL, notebook)
            assert notebook["found"][0] == "ferry.pdf"
    finally:
        notebook["retriever"].close()
        stop_engine(Settings(index=str(tmp_path / "index")))


def test_a_cell_that_opens_an_index_can_be_run_five_times_beside_a_command(index: Path):
    notebook: dict[str, Any] = {"index": index}
    for _ in range(5):
        exec(INDEX_CELL, notebook)
        assert notebook["found"][0] == 4
    answer = output_of(docrag("search", QUESTION, "--index", index, "-k", "1", "--json"))
    assert [hit["page"] for hit in answer["hits"]] == [4]
    notebook["opened"].close()


def test_two_assistants_ask_at_once(index: Path):
    with mcp_session(index) as one, mcp_session(index) as other:
        for _ in range(2):
            answers = [call("search_pages", {"query": QUESTION, "k": 1}) for call in (one, other)]
            assert [answer["structuredContent"]["hits"][0]["page"] for answer in answers] == [4, 4]


def test_the_status_beside_a_server_names_it(index: Path):
    with running(docrag("serve", "--index", index, "--port", "0", "--json")) as server:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        status = output_of(docrag("status", "--index", index, "--json"))
        answer = httpx.post(f"{url}/v1/search", json={"query": QUESTION, "k": 1}, timeout=30).json()
    assert status["pages"] == 15
    assert {"pid": server.pid, "program": "docrag serve"} in status["engine"]["users"]
    assert answer["hits"][0]["page"] == 4
