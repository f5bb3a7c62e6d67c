"""Worker processes do not run the user's script again."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys

import pytest

from docrag import Index
from tests.samples import APPLE, FERRY, write_pdf

SCRIPT = """
from docrag import Index

print("started", flush=True)
with Index.open({index!r}) as index:
    report = index.ingest({file!r})
    print(len(report.failures), index.status().pages, flush=True)
"""


@pytest.mark.slow
def test_a_script_without_a_guard_ingests_once(tmp_path):
    script = tmp_path / "ingest.py"
    file = write_pdf(tmp_path / "report.pdf", FERRY, APPLE)
    script.write_text(SCRIPT.format(index=str(tmp_path / "index"), file=str(file)))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["started", "0 2"]


@pytest.mark.slow
def test_a_daemonic_process_ingests_too(tmp_path):
    """Such are the workers of multiprocessing's pools and of Celery."""
    file = write_pdf(tmp_path / "report.pdf", FERRY, APPLE)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(ingest, (str(tmp_path / "index"), str(file))) == (2, True)


def ingest(index: str, file: str) -> tuple[int, bool]:
    """Ingest a file; the number of pages, and whether this process still counts as daemonic."""
    with Index.open(index) as opened:
        assert not opened.ingest(file).failures
        return opened.status().pages, multiprocessing.current_process().daemon


def test_processes_that_others_start_are_unaffected(tmp_path):
    script = tmp_path / "theirs.py"
    script.write_text(
        "import multiprocessing\n"
        "from docrag.common import spawn\n"
        "def double(n):\n    return 2 * n\n"
        "if __name__ == '__main__':\n"
        "    spawn.context()\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.map(double, [1, 2]))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[2, 4]\n"), done.stderr
