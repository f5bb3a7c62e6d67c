"""Which searches the engine's process answers, and which this one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from docrag import Settings
from docrag.index import one_search
from docrag.index.one_search import search_index

WANTED = {"query": "red", "k": 1, "mode": "hybrid", "filter": None}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who was asked."""
    names: list[str] = []

    def note(name: str) -> Callable[..., tuple[list[object], float]]:
        def search(*arguments: object) -> tuple[list[object], float]:
            names.append(name)
            return [], 0.0

        return search

    monkeypatch.setattr(one_search, "_ask_engine", note("engine"))
    monkeypatch.setattr(one_search, "_search_here", note("here"))
    monkeypatch.setattr(one_search, "_has_engine", lambda settings: True)
    return names


def test_a_file_is_read_by_the_engines_process(asked: list[str], tmp_path: Path):
    image = tmp_path / "image.png"
    image.touch()
    search_index(Settings(), WANTED, image, None)
    search_index(Settings(), WANTED, None, None)
    assert asked == ["engine", "engine"]


def test_a_pipe_is_read_by_this_process(asked: list[str], tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    search_index(Settings(), WANTED, pipe, None)
    search_index(Settings(), WANTED, None, pipe)
    assert asked == ["here", "here"]
