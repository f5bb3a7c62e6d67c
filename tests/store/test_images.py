from __future__ import annotations

import errno
from pathlib import Path

import pytest

from docrag.errors import StorageFull, StoreError
from docrag.store.images import PageImages

ID = "ab" * 32


def test_an_image_is_written_found_and_removed(tmp_path: Path):
    images = PageImages(tmp_path)
    written = images.write(ID, 3, b"jpeg")
    assert written == images.path(ID, 3) == tmp_path / "ab" / ID / "3.jpg"
    images.write(ID, 3, b"again")
    assert written.read_bytes() == b"again"
    assert [file.name for file in written.parent.iterdir()] == ["3.jpg"]
    assert [folder.name for folder in images.root.glob("*/*/")] == [ID]
    images.remove(ID)
    images.remove(ID)
    assert list(images.root.glob("*/*/")) == []


@pytest.mark.parametrize("document_id", ["../../etc", "a/b", "", ".."])
def test_an_id_cannot_lead_out_of_the_folder(tmp_path: Path, document_id: str):
    with pytest.raises(StoreError, match="not the id"):
        PageImages(tmp_path).path(document_id, 1)


@pytest.mark.parametrize(("code", "error"), [(errno.ENOSPC, StorageFull), (errno.EACCES, StoreError)])
def test_a_failed_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: type[StoreError]
):
    def fail(self: Path, target: Path) -> Path:
        raise OSError(code, "as the system says")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(error):
        PageImages(tmp_path).write(ID, 1, b"jpeg")
    assert list((tmp_path / "ab" / ID).iterdir()) == []
