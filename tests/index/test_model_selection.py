"""Which encoders an index is opened with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from docrag import Index, Settings
from docrag.encode.registry import is_name_of, page_encoder
from docrag.errors import IndexMismatch, ModelUnavailable, SettingsError
from docrag.index.model_selection import choose_encoders
from docrag.location.directory import DirectoryLocation
from docrag.settings import load_settings
from docrag.store.layout import Fingerprint


@pytest.fixture
def model(checkpoint, tmp_path) -> Path:
    """A checkpoint that a test may move."""
    return Path(shutil.copytree(checkpoint("colqwen2"), tmp_path / "model"))


def test_an_index_remembers_its_encoders(model, tmp_path):
    settings = Settings(index=str(tmp_path / "index"), late=str(model), max_patches=16)
    with Index.open(settings=settings) as index:
        built = index.status().fingerprint
    with Index.open(tmp_path / "index") as again:
        assert again.status().fingerprint == built
    assert (built["late"]["family"], built["late"]["max_patches"]) == ("colqwen2", 16)
    assert built["late"]["library"] == "colpali-engine"


def test_naming_the_encoder_again_changes_nothing(model, tmp_path, monkeypatch):
    with Index.open(tmp_path / "index", settings=Settings(late=str(model), max_patches=16)):
        pass
    monkeypatch.chdir(tmp_path)
    with Index.open(tmp_path / "index", late="model") as index:
        assert index.status().fingerprint["late"]["max_patches"] == 16


def test_another_encoder_is_refused_with_both_names(model, tmp_path):
    with Index.open(tmp_path / "index", late=str(model)):
        pass
    with pytest.raises(IndexMismatch, match=rf"colqwen2 {model}.*minilm"):
        Index.open(tmp_path / "index", late="minilm")
    with pytest.raises(IndexMismatch, match="max_patches"):
        Index.open(tmp_path / "index", settings=Settings(late=str(model), max_patches=16))


@pytest.mark.parametrize("name", ["colqwen2", "clip"])
def test_a_short_name_is_not_every_model_of_its_family(checkpoint, name):
    told = page_encoder(checkpoint(name)).spec.fingerprint()
    assert not is_name_of(name, told)
    assert is_name_of(checkpoint(name), told)
    assert is_name_of("colqwen2", {**told, "model": "vidore/colqwen2-v1.0", "revision": "abc"})


def test_weights_may_move(model, tmp_path):
    with Index.open(tmp_path / "index", late=str(model)):
        pass
    moved = model.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelUnavailable, match=rf"{model}.*DOCRAG_LATE"):
        Index.open(tmp_path / "index")
    with Index.open(tmp_path / "index", late=str(moved)):
        pass
    with Index.open(tmp_path / "index") as index:
        assert index.status().fingerprint["late"]["model"] == str(moved)


def test_patches_need_an_encoder_that_sees(model):
    with pytest.raises(SettingsError, match="minilm reads words"):
        choose_encoders(Settings(max_patches=64), None)
    assert choose_encoders(Settings(late=str(model), max_patches=64), None).late.spec.max_patches == 64


def test_an_index_without_an_image_encoder_stays_so(tmp_path):
    with Index.open(tmp_path / "index"):
        pass
    stored = DirectoryLocation(tmp_path / "index").fingerprint()
    assert isinstance(stored, Fingerprint)
    assert choose_encoders(Settings(), stored).image is None


UNUSABLE = [("batch_size", "0"), ("batch_size", "many"), ("resolution", "3")]


@pytest.mark.parametrize(("name", "value"), UNUSABLE)
def test_settings_that_cannot_be_used_are_named(name, value):
    with pytest.raises(SettingsError, match=name):
        load_settings(**{name: value})


def test_models_stand_where_they_belong(checkpoint):
    with pytest.raises(SettingsError, match="cannot be used for --image"):
        choose_encoders(Settings(image="minilm"), None)
    with pytest.raises(SettingsError, match="cannot be used for --late"):
        choose_encoders(Settings(late=checkpoint("clip")), None)
