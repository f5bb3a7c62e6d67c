"""A command that changes an index waits for another one, says for whom, and can be interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes import Holder

pytestmark = pytest.mark.slow


@pytest.fixture
def index(demo_copy: Callable[[], Path]) -> Path:
    return demo_copy()


@pytest.fixture
def writer(index: Path, tmp_path: Path) -> Iterator[Holder]:
    """Another process that is changing the index."""
    with Holder(index / "manifest.sqlite", tmp_path, "docrag", "ingest") as holder:
        yield holder


@pytest.fixture
def ingest(index: Path, writer: Holder, tmp_path: Path) -> subprocess.Popen[str]:
    """An ingest of an empty folder, which has said for whom it waits."""
    (tmp_path / "empty").mkdir()
    command = [sys.executable, "-m", "docrag", "ingest", tmp_path / "empty", "--index", index, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    name = f"process {writer.process.pid} (docrag ingest)"
    assert process.stderr.readline() == f"waiting for {name}, which is changing the index\n"
    return process


def test_it_goes_on_when_the_other_one_ends(ingest: subprocess.Popen[str], writer: Holder):
    writer.end()
    out, err = ingest.communicate(timeout=60)
    assert (ingest.returncode, err) == (0, "")
    assert [list(json.loads(line)) for line in out.splitlines()] == [["summary"]]


def test_it_can_be_interrupted(ingest: subprocess.Popen[str], writer: Holder):
    ingest.send_signal(signal.SIGINT)
    out, err = ingest.communicate(timeout=60)
    assert (ingest.returncode, out) == (130, "")
    assert "Traceback" not in err
