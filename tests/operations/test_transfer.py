"""A whole index that moves, with models that are there or not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from docrag import Index, Settings
from docrag.demo import documents
from docrag.errors import IndexMismatch, IndexNotFound
from docrag.ingest.report import IngestReport
from docrag.operations import transfer
from docrag.operations.transfer import export_index, import_index
from tests.samples import CLOCK, later, write_pdf

PART = 5


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PAGES_PER_PART", PART)
    monkeypatch.setattr(transfer, "BATCH", 2)


def hits(index: Index, query: str, mode: str) -> list[tuple[str, float, int, bytes]]:
    return [
        (hit.page_id, hit.score, len(hit.regions), hit.image_path.read_bytes())
        for hit in index.search(query, mode=mode)
    ]


QUERY = "SyncOptions much did the ferry company earn from catering?"


def status_of(report: IngestReport) -> dict[str, str]:
    return {Path(file.file).name: file.status for file in report.files}


def test_a_moved_index_answers_the_same_and_knows_its_files(tmp_path: Path):
    folder = Path(shutil.copytree(documents(), tmp_path / "docs"))
    here, there, export_folder = tmp_path / "here", tmp_path / "there", tmp_path / "export"
    settings = Settings(workers=1)
    with Index.open(here, settings=settings) as index:
        index.ingest(folder)
        before = {mode: hits(index, QUERY, mode) for mode in ("hybrid", "late", "cosine", "text")}
    pages = export_index(str(here), export_folder).pages
    assert import_index(export_folder, str(there)).written == pages > 2 * PART
    with Index.open(there, settings=settings) as index:
        for mode, wanted in before.items():
            found = hits(index, QUERY, mode)
            assert [(id, n, image) for id, _, n, image in found] == [
                (id, n, image) for id, _, n, image in wanted
            ]
            np.testing.assert_allclose([hit[1] for hit in found], [hit[1] for hit in wanted], atol=1e-3)
        assert set(status_of(index.ingest(folder)).values()) == {"unchanged"}
        later(write_pdf(folder / "new.pdf", CLOCK))
        assert status_of(index.ingest(folder))["new.pdf"] == "added"
    assert import_index(export_folder, str(there)).written == 0


def test_an_import_into_an_index_of_other_models_is_refused(tmp_path: Path):
    with Index.open(tmp_path / "here"):
        pass
    export_index(str(tmp_path / "here"), tmp_path / "export")
    with Index.open(tmp_path / "german", settings=Settings(language="german")):
        pass
    with pytest.raises(IndexMismatch, match="german"):
        import_index(tmp_path / "export", str(tmp_path / "german"))


def test_an_import_keeps_where_the_weights_lie(tmp_path: Path, checkpoint):
    model = Path(shutil.copytree(checkpoint("colqwen2"), tmp_path / "model"))
    with Index.open(tmp_path / "here", late=str(model)):
        pass
    export_index(str(tmp_path / "here"), tmp_path / "export")
    moved = model.rename(tmp_path / "elsewhere")
    with Index.open(tmp_path / "there", late=str(moved)):
        pass
    import_index(tmp_path / "export", str(tmp_path / "there"))
    assert json.loads((tmp_path / "there" / "fingerprint.json").read_text())["late"]["model"] == str(moved)


def test_patches_are_stored_as_the_target_has_them(tmp_path: Path):
    with Index.open(tmp_path / "here"):
        pass
    export_index(str(tmp_path / "here"), tmp_path / "export")
    there = tmp_path / "there"
    import_index(tmp_path / "export", str(there), datatype="turbo8")
    import_index(tmp_path / "export", str(there))
    with pytest.raises(IndexMismatch, match="datatype turbo8, asked for datatype float16"):
        import_index(tmp_path / "export", str(there), datatype="float16")
    assert json.loads((there / "fingerprint.json").read_text())["datatype"] == "turbo8"


def test_an_index_moves_without_its_models(tmp_path: Path, checkpoint):
    model = Path(shutil.copytree(checkpoint("colqwen2"), tmp_path / "model"))
    with Index.open(tmp_path / "here", late=str(model)):
        pass
    shutil.rmtree(model)
    export_index(str(tmp_path / "here"), tmp_path / "export")
    assert import_index(tmp_path / "export", str(tmp_path / "there")).pages == 0


def test_what_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(IndexNotFound, match="no index"):
        export_index(str(tmp_path / "none"), tmp_path / "export")
    with pytest.raises(IndexNotFound, match="no export"):
        import_index(tmp_path / "none", str(tmp_path / "to"))
    assert not (tmp_path / "to").exists()
