"""Two machines that begin at once, a few times; the benchmark of the same name does it hundreds of times."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.first_ingests import run


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_every_page_that_two_machines_report_is_found(number: int, tmp_path: Path):
    outcome = run(tmp_path, delay=0.015)
    assert outcome.is_well, outcome
