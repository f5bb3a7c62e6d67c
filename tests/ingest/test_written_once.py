"""Each page is written to a server once: if it is written again, its terms count twice for a while."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from docrag import Index, Settings
from docrag.operations.transfer import export_index, import_index
from tests.samples import APPLE, CLOCK, FERRY, write_pdf
from tests.store.fake_qdrant import FakeQdrant

pytestmark = pytest.mark.slow

READS = ("scroll", "count", "query", "batch", "facet", "search")


@pytest.fixture
def server() -> Iterator[FakeQdrant]:
    with FakeQdrant() as server:
        yield server


@pytest.fixture
def index(server: FakeQdrant, tmp_path: Path) -> Iterator[Index]:
    settings = Settings(index=server.uri, files=str(tmp_path / "files"), workers=1)
    with Index.open(settings=settings) as opened:
        yield opened


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY, CLOCK)
    return write_pdf(tmp_path / "docs" / "apple.pdf", APPLE).parent


def writes(server: FakeQdrant) -> list[str]:
    """The requests since the last call that change points, such as "PUT points"; the log is emptied."""
    paths = [(sent.method, sent.path.partition("/points")[1:]) for sent in server.requests]
    server.requests.clear()
    return [
        f"{method} {points[1:]}{rest}"
        for method, (points, rest) in paths
        if points and not rest.endswith(READS) and (method, rest) != ("POST", "")
    ]


def test_an_ingest_writes_each_page_once(index: Index, server: FakeQdrant, docs: Path):
    assert index.ingest(docs).pages == 3
    assert writes(server) == ["PUT points"]
    index.ingest(docs)
    assert writes(server) == []


def test_a_copy_of_a_file_changes_only_its_own_pages(index: Index, server: FakeQdrant, docs: Path):
    index.ingest(docs)
    writes(server)
    copy = docs / "copy.pdf"
    copy.write_bytes((docs / "apple.pdf").read_bytes())
    index.ingest(docs)
    assert writes(server) == ["POST points/payload"]
    [document] = [document for document in index.documents() if len(document.files) == 2]
    assert {Path(file).name for file in document.files} == {"apple.pdf", "copy.pdf"}
    index.ingest(docs)
    assert writes(server) == []


def test_files_of_one_content_in_one_ingest_are_written_once(index: Index, server: FakeQdrant, docs: Path):
    (docs / "copy.pdf").write_bytes((docs / "apple.pdf").read_bytes())
    index.ingest(docs)
    assert writes(server) == ["PUT points"]


def test_reading_again_writes_once_and_names_all_sources(index: Index, server: FakeQdrant, docs: Path):
    index.ingest(docs)
    elsewhere = docs.parent / "elsewhere.pdf"
    elsewhere.write_bytes((docs / "apple.pdf").read_bytes())
    index.ingest(elsewhere)
    writes(server)
    index.ingest(docs / "ferry.pdf", again=True)
    assert writes(server) == ["PUT points"]
    index.ingest(docs / "apple.pdf", again=True)  # the reading knows one of its two files
    assert writes(server) == ["PUT points", "POST points/payload"]
    [document] = [document for document in index.documents() if len(document.files) == 2]
    assert {Path(file).name for file in document.files} == {"apple.pdf", "elsewhere.pdf"}


def test_pages_of_an_interrupted_ingest_name_the_present_sources(
    index: Index, server: FakeQdrant, docs: Path, monkeypatch: pytest.MonkeyPatch
):
    """The first run wrote all pages under two names, and one of the files is gone in the second one."""
    copy = docs / "other.pdf"
    copy.write_bytes((docs / "apple.pdf").read_bytes())
    with monkeypatch.context() as patched:

        def fail(*_: object) -> None:
            raise KeyboardInterrupt

        patched.setattr("docrag.ingest.manifest.Manifest.finish", fail)
        with pytest.raises(KeyboardInterrupt):
            index.ingest([docs / "apple.pdf", copy])
    copy.unlink()
    writes(server)
    index.ingest(docs / "apple.pdf")
    assert writes(server) == ["POST points/payload"]
    [document] = index.documents()
    assert [Path(file).name for file in document.files] == ["apple.pdf"]


def test_an_import_writes_each_page_once(
    index: Index, server: FakeQdrant, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    index.ingest(docs)
    monkeypatch.setenv("DOCRAG_FILES", str(tmp_path / "files"))
    export_index(server.uri, tmp_path / "backup")
    monkeypatch.setenv("DOCRAG_FILES", str(tmp_path / "elsewhere"))
    with FakeQdrant() as target:
        assert import_index(tmp_path / "backup", target.uri).written == 3
        assert writes(target) == ["PUT points"]
