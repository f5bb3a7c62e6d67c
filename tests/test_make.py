"""The targets of the Makefile, as docs and CI name them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def commands_of(target: str) -> list[str]:
    """What `make` would run for a target."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    # Without what a `make test WORKERS=4` that runs this test hands down.
    environment = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "WORKERS"}}
    printed = subprocess.run(
        ["make", "-n", target], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout
    return [line for line in printed.splitlines() if "pytest" in line]


def test_make_test_runs_all_tests_in_two_processes():
    [command] = commands_of("test")
    assert command.endswith("bin/pytest -n 2 --dist worksteal")


def test_make_test_fast_leaves_out_the_slow_ones():
    [command] = commands_of("test-fast")
    assert command.endswith('bin/pytest -n 2 --dist worksteal -m "not slow"')
