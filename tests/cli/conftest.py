"""Commands run in this process, or in one of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from docrag.cli import app


@dataclass(frozen=True)
class Outcome:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """The JSON values on stdout, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def docrag() -> Callable[..., Outcome]:
    """Run a command in this process, which has the models loaded."""

    def run(*arguments: object) -> Outcome:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def docrag_process() -> Callable[..., Outcome]:
    """Run a command in a process of its own."""

    def run(*arguments: object, cwd: Path | None = None) -> Outcome:
        command = [sys.executable, "-m", "docrag", *map(str, arguments)]
        completed = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, check=False)
        return Outcome(completed.returncode, completed.stdout, completed.stderr)

    return run


@pytest.fixture(scope="session")
def demo_uri(demo_copy: Callable[[], Path]) -> Path:
    """The directory of an index of the demo documents that no process has open."""
    return demo_copy()
