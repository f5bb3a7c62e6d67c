"""Where settings come from, and what an error says about one that cannot be used."""

from __future__ import annotations

import inspect
import re

import pytest

from docrag.errors import SettingsError
from docrag.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _own_directory(tmp_path, monkeypatch):
    """Each test has a working directory without a docrag.toml."""
    monkeypatch.chdir(tmp_path)


def test_flags_come_before_variables_before_the_file_before_defaults(tmp_path, monkeypatch):
    (tmp_path / "docrag.toml").write_text("index = 'file'\nlate = 'file'\ntext = 'file'\n")
    monkeypatch.setenv("DOCRAG_INDEX", "variable")
    monkeypatch.setenv("DOCRAG_LATE", "variable")
    settings = load_settings(index="flag", late=None)
    assert (settings.index, settings.late, settings.text) == ("flag", "variable", "file")
    assert settings.caption == "text"


@pytest.mark.parametrize("size", ["0", "4097", "-1", "two", "²", ""])
def test_a_batch_size_out_of_range_is_refused(size):
    with pytest.raises(SettingsError, match="must be between 1 and 4096, or auto") as caught:
        load_settings(batch_size=size)
    assert caught.value.hint == "correct --batch-size"


def test_batch_sizes():
    assert [load_settings(batch_size=size).batch_size for size in ("auto", "8", 16)] == ["auto", 8, 16]


def test_an_error_says_where_the_value_comes_from(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCRAG_RENDER_SIDE", "huge")
    with pytest.raises(SettingsError, match="setting render_side") as caught:
        load_settings(index="here")
    assert caught.value.hint == "correct DOCRAG_RENDER_SIDE, or render_side in docrag.toml"


def test_an_unknown_setting_in_the_file(tmp_path):
    (tmp_path / "docrag.toml").write_text("colour = 'red'\n")
    with pytest.raises(SettingsError, match="there is no setting colour") as caught:
        load_settings()
    assert "docrag.toml" in caught.value.hint


def test_a_file_that_is_no_toml(tmp_path):
    (tmp_path / "docrag.toml").write_text("index = [")
    with pytest.raises(SettingsError, match=r"docrag\.toml is not valid TOML"):
        load_settings()


def test_every_setting_is_described_with_its_default():
    source = inspect.getsource(Settings)
    for name in Settings.model_fields:
        [text] = re.findall(rf'^    {name}: .*?\n    """(.*?)"""$', source, re.MULTILINE | re.DOTALL)
        assert "Default:" in text, name
