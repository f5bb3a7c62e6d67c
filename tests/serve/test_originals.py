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


def test_an_original_that_may_not_be_looked_at_is_skipped(tmp_path: Path):
    """As in the home directory of another user."""
    hidden = tmp_path / ("n" * 300)  # not even root may look at it, and tests may run as root
    with pytest.raises(OSError, match="too long"):
        hidden.stat()
    assert existing_file([str(hidden)]) is None
    path = write_pdf(tmp_path / "a.pdf", "A readable copy.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    document = IndexedDocument(digest, (str(hidden), str(path)), "", 1, 1)
    assert original_pdf(document) == path


@pytest.mark.slow
def test_an_image_has_no_original_pdf(tmp_path: Path):
    image = tmp_path / "chart.png"
    make_image(1).save(image)
    with Index.open(tmp_path / "index") as index:
        index.ingest(image)
        [document] = index.documents()
        with pytest.raises(NotFound, match="not a PDF"):
            original_pdf(document)
