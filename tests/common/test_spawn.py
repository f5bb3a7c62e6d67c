"""Worker processes do not run the user's script again."""

from __future__ import annotations

import subprocess
import sys

from docrag.demo import documents

SCRIPT = """
from docrag import Index

print("begun", flush=True)
with Index.open({index!r}) as index:
    report = index.ingest({folder!r})
    print(len(report.failures), index.status().pages, flush=True)
"""


def test_a_script_without_a_guard_ingests_once(tmp_path):
    script = tmp_path / "ingest.py"
    script.write_text(SCRIPT.format(index=str(tmp_path / "index"), folder=str(documents())))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    begun, told = done.stdout.splitlines()
    failures, pages = map(int, told.split())
    assert (begun, failures, pages > 10) == ("begun", 0, True)


def test_processes_of_others_are_started_as_before(tmp_path):
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
