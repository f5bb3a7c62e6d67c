"""What a command says about an ingest that gives up."""

from __future__ import annotations

import pytest

from docrag.cli.monitor import Monitor
from docrag.errors import ServerUnreachable
from docrag.ingest.report import FileReport


def test_documents_that_were_adopted_count_as_stored(capsys: pytest.CaptureFixture[str]):
    monitor = Monitor()
    monitor(FileReport("ferry.pdf", "adopted", 2))
    monitor(FileReport("apple.pdf", "failed", 0))
    with pytest.raises(ServerUnreachable), monitor.noting_what_is_stored():
        raise ServerUnreachable("the server does not answer", "start it")
    assert "stored so far: 1 documents with 2 pages" in capsys.readouterr().err
