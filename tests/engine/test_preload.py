"""What the engine's process loads before anybody asks for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from docrag.engine import preload
from docrag.location.names import FINGERPRINT


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads that would load models."""
    started: list[str] = []

    class Thread:
        def __init__(self, *, name: str, **options: object) -> None:
            self.name = name

        def start(self) -> None:
            started.append(self.name)

    monkeypatch.setattr(preload.threading, "Thread", Thread)
    return started


@pytest.mark.parametrize(
    ("fingerprint", "expected"),
    [
        ({"late": {"family": "minilm"}, "text": {"family": "minilm"}}, ["preload"]),
        ({"late": {"family": "colqwen2.5"}, "text": {"family": "minilm"}}, []),
        ({"late": None, "text": {"family": "minilm"}}, []),
        ({"layout": "texts"}, []),
        ([], []),
    ],
)
def test_only_the_default_models_are_loaded(
    tmp_path: Path, loads: list[str], fingerprint: object, expected: list[str]
):
    (tmp_path / FINGERPRINT).write_text(json.dumps(fingerprint))
    preload.preload_default_models(tmp_path)
    assert loads == expected


def test_a_directory_without_a_readable_fingerprint_loads_nothing(tmp_path: Path, loads: list[str]):
    preload.preload_default_models(tmp_path)
    (tmp_path / FINGERPRINT).write_text("{")
    preload.preload_default_models(tmp_path)
    assert loads == []
