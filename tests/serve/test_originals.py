"""The files that were ingested."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from docrag import Index
from docrag.errors import NotFound
from docrag.serve.originals import existing_file, original_pdf
from docrag.types import IndexedDocument
from tests.samples import make_image, write_pdf


def test_an_original_where_nothing_can_be_seen_is_gone(tmp_path: Path):
    """As in the home of another user, whose index is served by somebody else."""
    hidden = tmp_path / ("n" * 300)  # the disk refuses to look, also to the administrator, who runs tests
    with pytest.raises(OSError, match="too long"):
        hidden.stat()
    assert standing([str(hidden)]) is None
    path = write_pdf(tmp_path / "a.pdf", "Behind a name that cannot be looked at.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    document = IndexedDocument(digest, (str(hidden), str(path)), "", 1, 1)
    assert original(document) == path


def test_a_file_that_is_no_pdf_is_not_served_as_one(tmp_path: Path):
    picture = tmp_path / "chart.png"
    make_image(1).save(picture)
    with Index.open(tmp_path / "index") as index:
        index.ingest(picture)
        [document] = index.documents()
        with pytest.raises(NotFound, match="not a PDF"):
            original(document)
