"""docrag migrate."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.samples import APPLE, CLOCK, FERRY, write_pdf

pytestmark = pytest.mark.slow


def test_an_index_is_migrated(docrag, tmp_path):
    write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY, CLOCK)
    apple, where = write_pdf(tmp_path / "docs" / "apple.pdf", APPLE), tmp_path / "index"
    docrag("ingest", tmp_path / "docs", "--index", where)
    away = apple.rename(tmp_path / "away.pdf")
    refused = docrag("migrate", "--index", where, "--pooling", "tokens")
    assert refused.code == 1
    assert "apple.pdf (1 page)" in refused.err
    assert "--drop-missing" in refused.err
    abandoned = docrag("migrate", "--index", where, "--abandon")
    assert (abandoned.code, abandoned.out.strip().endswith("stays as it is")) == (0, True)
    assert not (where / ".migration").exists()
    again = docrag("migrate", "--index", where, "--abandon", "--json")
    assert again.lines == [{"summary": {"index": str(where), "switched": False}}]
    away.rename(apple)
    *files, last = docrag("migrate", "--index", where, "--pooling", "tokens", "--keep-old", "--json").lines
    assert {Path(file["file"]).name for file in files} == {"ferry.pdf", "apple.pdf"}
    assert last == {
        "summary": {
            "index": str(where),
            "switched": True,
            "pages": 3,
            "dropped": [],
            "kept": f"{where}--1",
        }
    }
    assert docrag("status", "--index", where, "--json").lines[0]["fingerprint"]["pooling"] == "tokens"
    assert docrag("status", "--index", f"{where}--1", "--json").lines[0]["fingerprint"]["pooling"] == "rows"
    docrag("migrate", "--index", where, "--datatype", "turbo8")
    assert docrag("status", "--index", where, "--json").lines[0]["fingerprint"]["datatype"] == "turbo8"
    assert "stored     all patches as turbo8, pooled by tokens" in docrag("status", "--index", where).out
    assert "built like this already" in docrag("migrate", "--index", where, "--pooling", "tokens").out
    apple.unlink()
    dropped = docrag("migrate", "--index", where, "--pooling", "rows", "--drop-missing")
    assert dropped.code == 3
    assert "2 pages" in dropped.out
    assert dropped.err.count("dropped ") == 1
    assert "failed" not in dropped.err  # the same file is not reported twice
    assert docrag("migrate", "--index", tmp_path / "none").code == 1


def test_a_migration_that_is_killed_goes_on(docrag, demo_copy):
    where = demo_copy()
    command = [sys.executable, "-m", "docrag", "migrate", "--index", where, "--pooling", "tokens", "--json"]
    pages = docrag("status", "--index", where, "--json").lines[0]["pages"]
    for documents in (0, 2):
        with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE) as run:
            while not (where / ".migration").exists():
                assert run.poll() is None
                time.sleep(0.01)
            for _ in range(documents):
                assert b"file" in run.stdout.readline()
            os.killpg(run.pid, signal.SIGKILL)
        assert run.returncode == -signal.SIGKILL
        status = docrag("status", "--index", where, "--json").lines[0]
        assert (status["pages"], len(status["incomplete"])) == (pages, 0)
    assert docrag("migrate", "--index", where, "--pooling", "tokens").code == 0
    status = docrag("status", "--index", where, "--json").lines[0]
    assert (status["pages"], status["fingerprint"]["pooling"]) == (pages, "tokens")
    assert not (where / ".migration").exists()
